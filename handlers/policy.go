package handlers

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Policy says how often and for how long a command is tried whose attempts are known to have changed nothing. Time
// while the upstream's breaker is open does not count, and neither do failures that speak of the upstream as a whole.
// The zero value of a field means its default.
type Policy struct {
	Attempts   int           `yaml:"attempts"`   // the most attempts that count; default 6
	Initial    time.Duration `yaml:"initial"`    // delay after the first attempt; default 2s
	Max        time.Duration `yaml:"max"`        // the longest delay before jitter; default 2m
	Multiplier float64       `yaml:"multiplier"` // growth of the delay; default 3
	Jitter     float64       `yaml:"jitter"`     // part of the delay that is random, 0 to 1; default 0.2
	Total      time.Duration `yaml:"total"`      // the most time from the first attempt on; default 30m
}

// WithDefaults is p with its zero fields filled.
func (p Policy) WithDefaults() Policy {
	setDefault(&p.Attempts, 6)
	setDefault(&p.Initial, 2*time.Second)
	setDefault(&p.Max, 2*time.Minute)
	setDefault(&p.Multiplier, 3)
	setDefault(&p.Jitter, 0.2)
	setDefault(&p.Total, 30*time.Minute)
	return p
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate refuses a policy that makes no sense, or that would spend all its attempts within a second: an upstream
// that hiccups for two would then fail every command.
func (p Policy) Validate() error {
	p = p.WithDefaults()
	switch {
	case p.Attempts < 1:
		return fmt.Errorf("attempts is %d, and must be at least 1", p.Attempts)
	case p.Initial < 0 || p.Max < 0 || p.Total < 0:
		return fmt.Errorf("initial, max and total must not be negative")
	case !(p.Multiplier >= 1): // NaN too
		return fmt.Errorf("multiplier is %g, and must be at least 1", p.Multiplier)
	case !(p.Jitter >= 0 && p.Jitter <= 1):
		return fmt.Errorf("jitter is %g, and must be from 0 to 1", p.Jitter)
	case p.Attempts > 1 && p.span() < time.Second:
		return fmt.Errorf("all %d attempts would be spent within %s: raise initial or total, so that it is at least 1s",
			p.Attempts, p.span())
	}
	return nil
}

// span is the least time between the first attempt and the last.
func (p Policy) span() time.Duration {
	var sum time.Duration
	for n := 1; n < p.Attempts && sum < p.Total; n++ {
		sum += p.base(n)
	}
	return min(sum, p.Total)
}

// base is the delay after n used attempts, before jitter. n below 1 counts as 1.
func (p Policy) base(n int) time.Duration {
	d := float64(p.Initial) * math.Pow(p.Multiplier, float64(max(n, 1)-1))
	return time.Duration(min(d, float64(p.Max)))
}

// Delay is the pause after n used attempts: exponential, with jitter that only lengthens it.
func (p Policy) Delay(n int) time.Duration {
	base := p.base(n)
	return base + time.Duration(rand.Float64()*p.Jitter*float64(base))
}

// Exhausted reports whether nothing is left after these attempts and this time.
func (p Policy) Exhausted(attempts int, spent time.Duration) bool {
	return attempts >= p.Attempts || spent >= p.Total
}

// String says what the policy amounts to, such as "up to 6 attempts over 4m10s".
func (p Policy) String() string {
	p = p.WithDefaults()
	if p.Attempts == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("up to %d attempts over %s", p.Attempts, p.span().Round(time.Second))
}
