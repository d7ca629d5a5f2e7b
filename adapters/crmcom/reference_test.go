package crmcom

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

// The reference holds the command's identity, as far as there is room for it, a charge's place included.
func TestReference(t *testing.T) {
	for _, c := range []struct {
		reference Reference
		action    string
		charge    string // the last one
	}{
		{Reference{}, "abcdefghijklmnopqrstuvwx23", "abcdefghijklmnopqrstuvwx23-50"},
		{Reference{Format: "{CID}"}, "ABCDEFGHIJKLMNOPQRSTUVWX23", "ABCDEFGHIJKLMNOPQRSTUVWX23-50"},
		{Reference{Format: "SUB:{cid}/x"}, "SUB:abcdefghijklmnopqrstuvwx23/x", "SUB:abcdefghijklmnopqrstuvwx23/x-50"},
		{Reference{MaxLength: 100}, "abcdefghijklmnopqrstuvwx23", "abcdefghijklmnopqrstuvwx23-50"},
		{Reference{MaxLength: 29}, "abcdefghijklmnopqrstuvwx23", "abcdefghijklmnopqrstuvwx23-50"},
		{Reference{MaxLength: 28}, "abcdefghijklmnopqrstuvwx2", "abcdefghijklmnopqrstuvwx2-50"},
		{Reference{MaxLength: 19}, "abcdefghijklmnop", "abcdefghijklmnop-50"},
		{Reference{Format: "S-{CID}", MaxLength: 24}, "S-ABCDEFGHIJKLMNOPQRS", "S-ABCDEFGHIJKLMNOPQRS-50"},
	} {
		s := Settings{Reference: c.reference}.WithDefaults(0)
		if got := s.Reference.of(cid); got != c.action {
			t.Errorf("%+v: %s", c.reference, got)
		}
		if got := s.Reference.ofCharge(cid, events.MaxCharges); got != c.charge {
			t.Errorf("%+v: %s", c.reference, got)
		}
		if most := c.reference.MaxLength; most > 0 && len(s.Reference.ofCharge(cid, events.MaxCharges)) > most {
			t.Errorf("%+v: too long", c.reference)
		}
	}
}

// The same command has the same reference in every attempt and at every worker; any other has another, and so has every
// charge.
func TestReferenceOfAttempts(t *testing.T) {
	sent := make(map[string]int)
	record := func(w http.ResponseWriter, _ *http.Request, args map[string]any) {
		if reference, ok := args["transaction_reference_number"].(string); ok {
			sent[reference]++
		}
		for _, item := range append([]any(nil), args["acknowledged_charges_set"], args["accepted_charges_set"]) {
			charges, _ := item.([]any)
			for _, charge := range charges {
				sent[charge.(map[string]any)["reference_number"].(string)]++
			}
		}
		ok(w, `{}`)
	}
	s := settings("")
	s.Reference = Reference{Format: "R_{CID}", MaxLength: 21}
	b, other := against(t, s, record), against(t, s, record)
	want := make(map[string]int)
	for i := range 20 {
		id := fmt.Sprintf("%016d%s", i, cid[16:])
		for _, b := range []both{b, b, other} {
			if _, err := b.client.Amend(t.Context(), b.client.Reference(id), decode[events.AmendData](t, plainAmend)); err != nil {
				t.Fatal(err)
			}
			if _, err := b.netflix.TakeCharges(t.Context(), events.NetflixAcknowledge, id, someCharges(2)); err != nil {
				t.Fatal(err)
			}
		}
		for _, end := range []string{"", "-1", "-2"} {
			want[fmt.Sprintf("R_%016d%s", i, end)] = 3
		}
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Error(diff)
	}
}

// Omit leaves the reference of actions away, which no result then names; charges keep theirs.
func TestReferenceOmitted(t *testing.T) {
	var sent []map[string]any
	s := settings("")
	s.Reference.Omit = true
	b := against(t, s, func(w http.ResponseWriter, _ *http.Request, args map[string]any) {
		sent = append(sent, args)
		ok(w, `{}`)
	})
	for _, act := range []func() (events.ActionResult, error){
		func() (events.ActionResult, error) {
			return b.client.Amend(t.Context(), b.client.Reference(cid), decode[events.AmendData](t, plainAmend))
		},
		func() (events.ActionResult, error) {
			return b.client.Swap(t.Context(), b.client.Reference(cid), decode[events.SwapData](t, plainSwap))
		},
	} {
		got, err := act()
		if err != nil || got.Reference != "" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, err := b.netflix.TakeCharges(t.Context(), events.NetflixAcknowledge, cid, someCharges(1)); err != nil {
		t.Error(err)
	}
	for _, args := range sent[:2] {
		if reference, there := args["transaction_reference_number"]; there {
			t.Errorf("a reference was sent: %v", reference)
		}
	}
	charge := sent[2]["acknowledged_charges_set"].([]any)[0].(map[string]any)
	if charge["reference_number"] != cid+"-1" {
		t.Errorf("%v", charge)
	}
}

// The format and the length must leave enough of a command's identity to tell it from others.
func TestReferenceSettings(t *testing.T) {
	problem := func(r Reference) string {
		s := settings(base)
		s.Reference = r
		session, err := NewSession(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = New(s, session, guard(t, upstream.Settings{})); err == nil {
			return ""
		}
		return err.Error()
	}
	for _, good := range []Reference{
		{}, {Format: "{CID}"}, {Format: "Az09_.:/-{cid}-"}, {MaxLength: 19}, {Format: "AB{CID}", MaxLength: 21}, {Omit: true}, {Enforced: true},
	} {
		if got := problem(good); got != "" {
			t.Errorf("%+v: %s", good, got)
		}
	}
	const format = `^crmcom\.reference\.format ".*" must hold \{cid\} or \{CID\} once, and else letters, digits and _ \. : / -$`
	length := func(least int) string {
		return fmt.Sprintf(`^crmcom\.reference\.max_length is -?\d+: with ".*", and a charge's "-50" behind it, it must be 0 \(no limit\) or at least %d, `+
			`so that 16 characters of the cid are left$`, least)
	}
	for _, c := range []struct {
		reference Reference
		want      string
	}{
		{Reference{Format: "x"}, format},
		{Reference{Format: "{cid}{cid}"}, format},
		{Reference{Format: "{cid}{CID}"}, format},
		{Reference{Format: "{Cid}"}, format},
		{Reference{Format: "{cid} "}, format},
		{Reference{Format: "ü{cid}"}, format},
		{Reference{Format: "{cid}{x}"}, format},
		{Reference{Format: "{cid}\n"}, format},
		{Reference{MaxLength: -1}, length(19)},
		{Reference{MaxLength: 1}, length(19)},
		{Reference{MaxLength: 18}, length(19)},
		{Reference{Format: "AB{CID}", MaxLength: 20}, length(21)},
		{Reference{Enforced: true, Omit: true}, `^crmcom\.reference\.enforced and crmcom\.reference\.omit contradict each other$`},
	} {
		if got := problem(c.reference); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%+v: %s", c.reference, got)
		}
	}
	if got := problem(Reference{Format: strings.Repeat("x", 200) + "{cid}", MaxLength: 30}); !strings.Contains(got, "at least 219") {
		t.Error(got)
	}
}
