package handlers_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"subrelay/events"
	"subrelay/handlers"
)

func ExamplePolicy_String() {
	fmt.Println(handlers.Policy{})
	fmt.Println(handlers.Policy{Attempts: 1})
	fmt.Println(handlers.Policy{Attempts: 100, Total: time.Hour})
	// Output:
	// up to 6 attempts over 3m20s
	// 1 attempt
	// up to 100 attempts over 1h0m0s
}

func TestPolicyValidate(t *testing.T) {
	for name, c := range map[string]struct {
		policy handlers.Policy
		want   string // part of the message; "" for none
	}{
		"the defaults":         {handlers.Policy{}, ""},
		"one attempt":          {handlers.Policy{Attempts: 1}, ""},
		"just slow enough":     {handlers.Policy{Attempts: 2, Initial: time.Second}, ""},
		"a billion attempts":   {handlers.Policy{Attempts: 1e9}, ""},
		"spent in a moment":    {handlers.Policy{Initial: time.Millisecond, Multiplier: 1}, "spent within 5ms"},
		"capped to a moment":   {handlers.Policy{Max: time.Millisecond}, "spent within"},
		"total under a second": {handlers.Policy{Total: 900 * time.Millisecond}, "spent within 900ms"},
		"no attempts":          {handlers.Policy{Attempts: -1}, "attempts"},
		"negative":             {handlers.Policy{Initial: -1}, "negative"},
		"shrinking":            {handlers.Policy{Multiplier: 0.5}, "multiplier"},
		"not a number":         {handlers.Policy{Multiplier: math.NaN()}, "multiplier"},
		"jitter":               {handlers.Policy{Jitter: 1.1}, "jitter"},
		"jitter not a number":  {handlers.Policy{Jitter: math.NaN()}, "jitter"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.policy.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestPolicyDelay(t *testing.T) {
	p := handlers.Policy{}.WithDefaults()
	for n, base := range map[int]time.Duration{0: 2 * time.Second, 1: 2 * time.Second, 2: 6 * time.Second, 3: 18 * time.Second,
		4: 54 * time.Second, 5: 2 * time.Minute, 1000: 2 * time.Minute} {
		differs := false
		for range 200 {
			d := p.Delay(n)
			if d < base || d > base+base/5 {
				t.Fatalf("the delay after %d attempts is %s, want %s and up to a fifth more", n, d, base)
			}
			differs = differs || d != p.Delay(n)
		}
		if !differs {
			t.Errorf("the delay after %d attempts has no jitter", n)
		}
	}
}

func TestPolicyExhausted(t *testing.T) {
	p := handlers.Policy{}.WithDefaults()
	for _, c := range []struct {
		attempts int
		spent    time.Duration
		want     bool
	}{{0, 0, false}, {5, 29 * time.Minute, false}, {6, 0, true}, {0, 30 * time.Minute, true}} {
		if got := p.Exhausted(c.attempts, c.spent); got != c.want {
			t.Errorf("after %d attempts and %s: %v, want %v", c.attempts, c.spent, got, c.want)
		}
	}
}

func TestNewDispatcherRefuses(t *testing.T) {
	w := newWorld(t)
	set, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	good := func() handlers.Config {
		return handlers.Config{Families: []handlers.Family{&family{spec: w.family.spec}}, Ledger: w.ledger, DeadLetters: w.dead, Schemas: set}
	}
	for name, change := range map[string]func(*handlers.Config){
		"no ledger":       func(c *handlers.Config) { c.Ledger = nil },
		"no dead letters": func(c *handlers.Config) { c.DeadLetters = nil },
		"no schemas":      func(c *handlers.Config) { c.Schemas = nil },
		"no family":       func(c *handlers.Config) { c.Families = nil },
		"a bad policy": func(c *handlers.Config) {
			c.Policies = map[events.Kind]handlers.Policy{events.Renew: {Jitter: 2}}
		},
		"settling that concludes at once": func(c *handlers.Config) {
			c.Families = []handlers.Family{&family{spec: w.family.spec, settling: handlers.Settling{Means: true, GiveUp: time.Hour}}}
		},
		"settling given up before it may conclude": func(c *handlers.Config) {
			c.Families = []handlers.Family{&family{spec: w.family.spec, settling: handlers.Settling{Means: true, After: time.Hour, GiveUp: time.Minute}}}
		},
	} {
		c := good()
		change(&c)
		if _, err := handlers.NewDispatcher(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := handlers.NewDispatcher(good()); err != nil {
		t.Error(err)
	}
}
