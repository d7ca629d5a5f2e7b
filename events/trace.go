package events

import "context"

// Trace is what travels with a call to an upstream, in headers only: the attempt's reference "<cid>.<attempt>" and the
// command's trace context (W3C Trace Context).
type Trace struct {
	Ref    string
	Parent string // traceparent
	State  string // tracestate
}

type traceKey struct{}

// WithTrace is ctx carrying t.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceOf is the Trace that ctx carries, zero where there is none.
func TraceOf(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}
