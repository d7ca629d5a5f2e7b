package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// narrator tells people what happens in the demonstration, above its progress bar. With -o json it is silent.
type narrator struct {
	c     *cli
	began time.Time

	mu  sync.Mutex
	bar *progressbar.ProgressBar
}

func (c *cli) newNarrator(began time.Time) *narrator { return &narrator{c: c, began: began} }

// sayf prints one line with the time since the beginning.
func (n *narrator) sayf(format string, args ...any) {
	if n.c.wantJSON {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bar != nil {
		_ = n.bar.Clear() // a bar that cannot be drawn is no loss
	}
	_ = n.c.printLine("%6.1fs  %s", time.Since(n.began).Seconds(), fmt.Sprintf(format, args...))
}

// count begins a progress bar up to total.
func (n *narrator) count(total int, what string) { n.bar = n.c.progress(int64(total), what) }

func (n *narrator) done(k int) { _ = n.bar.Set(k) }

func (n *narrator) end() {
	_ = n.bar.Finish()
	_ = n.bar.Clear()
	n.bar = nil
}
