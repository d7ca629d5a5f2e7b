package checkup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Check looks at one side of an installation.
type Check struct {
	Name    string        // stands in the finding that it failed, as its object
	Timeout time.Duration // default 15 s
	// Needs are the subjects on which Run asks, with wildcards. Where one of them turns out to be denied, Run would wait
	// for the answer in vain: whoever learns of it may end the check's context. Default: none.
	Needs []string
	// Run adds what it finds. An error says that it could not look, and is a finding, too: its text must hold no secret.
	Run func(ctx context.Context, found *Found) error
}

const (
	defaultTimeout = 15 * time.Second
	// atOnce is how many checks run at a time.
	atOnce = 4
)

// CodeFailed is the code of the finding that a check could not be made.
const CodeFailed = "check.failed"

// Found collects the findings of one check. It may be shared.
type Found struct {
	mu  sync.Mutex
	all []Finding
}

// Add adds a finding.
func (f *Found) Add(one Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, one)
}

// OK adds that something is as it should be.
func (f *Found) OK(code, of, format string, args ...any) {
	f.Add(Finding{Code: code, Of: of, What: fmt.Sprintf(format, args...)})
}

// Len is how many there are.
func (f *Found) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}

// All is what was found so far.
func (f *Found) All() []Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

// Run runs the checks, some at a time, each within its own time-out and all within ctx, and returns what they found,
// sorted. It waits for every check to end: they must heed their contexts.
func Run(ctx context.Context, checks []Check) []Finding {
	found := make([]Found, len(checks))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, c := range checks {
		group.Go(func() error {
			if err := c.run(ctx, &found[i]); err != nil {
				found[i].Add(c.failed(err))
			}
			return nil
		})
	}
	_ = group.Wait() // a check's error is a finding
	var all []Finding
	for i := range found {
		all = append(all, found[i].All()...)
	}
	Sort(all)
	return all
}

func (c Check) run(ctx context.Context, found *Found) (err error) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the check itself is broken: %v", r)
		}
	}()
	return c.Run(ctx, found)
}

func (c Check) failed(err error) Finding {
	f := Finding{
		Severity: Warning, Code: CodeFailed, Of: c.Name, What: "could not be checked: " + err.Error(),
		Why: "what nobody has looked at may be wrong", Do: "put right what the message says, and run doctor again",
	}
	if errors.Is(err, context.DeadlineExceeded) {
		f.What = "could not be checked in time: " + err.Error()
	}
	return f
}
