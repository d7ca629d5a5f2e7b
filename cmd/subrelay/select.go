package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"subrelay/adapters/natsjs"
	"subrelay/events"
)

// selectFlags select records of the ledger.
type selectFlags struct {
	since, until string
	fromSeq      uint64
	kinds        []string
	statuses     []string
	key, cid     string
	limit        int
}

func (f *selectFlags) register(cmd *cobra.Command, flags *pflag.FlagSet) {
	f.registerRange(flags)
	flags.StringSliceVar(&f.kinds, "kind", nil, "only these kinds, comma-separated")
	flags.StringSliceVar(&f.statuses, "status", nil, "only these statuses, comma-separated")
	flags.StringVar(&f.key, "key", "", "only this key, such as the customer's id")
	flags.StringVar(&f.cid, "cid", "", "only the command with this cid")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kindNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statusNames(), cobra.ShellCompDirectiveNoFileComp))
}

// registerRange registers the flags that select by place and number, whatever the events are.
func (f *selectFlags) registerRange(flags *pflag.FlagSet) {
	flags.StringVar(&f.since, "since", "", "from then on: a time (RFC 3339), or a duration back from now, such as 2h")
	flags.StringVar(&f.until, "until", "", "before then: a time, or a duration back from now")
	flags.Uint64Var(&f.fromSeq, "from-seq", 0, "from this sequence on")
	flags.IntVar(&f.limit, "limit", 0, "at most so many (default no limit)")
}

// query reads the flags; what cannot be read is a usage error.
func (f *selectFlags) query() (natsjs.Query, error) {
	q := natsjs.Query{FromSeq: f.fromSeq, Key: f.key, CID: f.cid, Limit: f.limit}
	now := time.Now().UTC()
	for _, t := range []struct {
		name, text string
		into       *time.Time
	}{{"--since", f.since, &q.Since}, {"--until", f.until, &q.Until}} {
		if t.text == "" {
			continue
		}
		at, err := timeAgo(t.text, now)
		if err != nil {
			return q, usagef("%s is %q, and must be a time such as %s, or a duration back from now such as 2h", t.name, t.text, now.Format(time.RFC3339))
		}
		*t.into = at
	}
	for _, name := range f.kinds {
		kind, err := parseKind(name)
		if err != nil {
			return q, err
		}
		q.Kinds = append(q.Kinds, kind)
	}
	for _, name := range f.statuses {
		status, err := parseStatus(name)
		if err != nil {
			return q, err
		}
		q.Statuses = append(q.Statuses, status)
	}
	if f.cid != "" && !events.IsCID(f.cid) {
		return q, usagef("--cid is %q, and a cid has %d characters of a-z and 2-7", f.cid, events.CIDLength)
	}
	if f.limit < 0 {
		return q, usagef("--limit is %d, and must not be negative", f.limit)
	}
	return q, nil
}

// timeAgo reads a time, or a duration counted back from now.
func timeAgo(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d.Abs()), nil
	}
	return time.Parse(time.RFC3339, text)
}

func statusNames() []string {
	var names []string
	for _, s := range events.Statuses() {
		names = append(names, string(s))
	}
	return names
}

func parseStatus(text string) (events.Status, error) {
	for _, s := range events.Statuses() {
		if string(s) == text {
			return s, nil
		}
	}
	if near := nearest(text, statusNames()); near != "" {
		return "", usagef("there is no status %q; did you mean %s?", text, near)
	}
	return "", usagef("there is no status %q; known: %s", text, joined(statusNames()))
}
