package natsjs

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"subrelay/events"
)

func TestCommandsRead(t *testing.T) {
	_, js, _ := ledgerFixture(t)
	c := NewCommands(js, Names{})
	for i, s := range []string{"renew.C%2E1", "swap.C%2E1", "renew.C2", "renew.C%2E1"} {
		msg := &nats.Msg{Subject: "subrelay.cmd." + s, Data: fmt.Append(nil, "body", i), Header: nats.Header{"ce-id": {fmt.Sprint(i)}}}
		if _, err := js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	scan := func(q CommandQuery) (got []string) {
		t.Helper()
		err := c.Scan(t.Context(), q, func(s StoredCommand) error {
			got = append(got, fmt.Sprintf("%d %s %s %s", s.Seq, s.Kind, s.Key, s.Data))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	all := []string{"1 renew C%2E1 body0", "2 swap C%2E1 body1", "3 renew C2 body2", "4 renew C%2E1 body3"}
	for name, s := range map[string]struct {
		q    CommandQuery
		want []string
	}{
		"All":     {CommandQuery{}, all},
		"Kind":    {CommandQuery{Kinds: []events.Kind{"swap", "swap"}}, all[1:2]},
		"Key":     {CommandQuery{Key: "C.1"}, []string{all[0], all[1], all[3]}},
		"KindKey": {CommandQuery{Key: "C.1", Kinds: []events.Kind{events.Renew}}, []string{all[0], all[3]}},
		"FromTo":  {CommandQuery{FromSeq: 2, ToSeq: 3}, all[1:3]},
		"Limit":   {CommandQuery{Limit: 1}, all[:1]},
		"Future":  {CommandQuery{Since: time.Now().Add(time.Hour)}, nil},
		"Past":    {CommandQuery{Until: time.Now().Add(-time.Hour)}, nil},
	} {
		if diff := cmp.Diff(s.want, scan(s.q)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}

	got, err := c.Get(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	want := StoredCommand{
		Message:   Message{Seq: 2, Time: got.Time, Subject: got.Subject, Header: map[string][]string{"ce-id": {"1"}}, Data: []byte("body1")},
		Partition: got.Partition, Kind: "swap", Key: "C%2E1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got.Subject != (Names{}).Stored(got.Partition, "swap", "C%2E1") || time.Since(got.Time) > time.Minute {
		t.Errorf("subject %s, time %s", got.Subject, got.Time)
	}
	for _, seq := range []uint64{0, 99} {
		if _, err := c.Get(t.Context(), seq); events.AsError(err).Code != CodeNotFound {
			t.Errorf("command %d: got %v, want %s", seq, err, CodeNotFound)
		}
	}
	if err := c.Scan(t.Context(), CommandQuery{Key: string(make([]byte, 200))}, nil); events.KindOf(err) != events.Refused {
		t.Errorf("a key that cannot be one: got %v, want Refused", err)
	}
}
