package events_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

func TestChargeStatusAndType(t *testing.T) {
	for state, want := range map[string]string{
		"PENDING": "pending", "APPROVED": "approved", "DECLINED": "declined", "BAD_REQUEST": "bad_request", "REJECTED": "rejected",
		"bad_request": "bad_request", "On Hold.": "onhold", "NEW-2": "new-2", "": "unknown", "***": "unknown", "ΩΚ": "unknown", "\u212aept": "kept",
	} {
		if got := events.ChargeStatus(state); got != want {
			t.Errorf("ChargeStatus(%q) = %q, want %q", state, got, want)
		}
		if got := events.ChargeStatus(want); got != want {
			t.Errorf("ChargeStatus(%q) = %q: a token is its own", want, got)
		}
		typ := events.ChargeType(state)
		if got, ok := events.StatusOfChargeType(typ); !ok || got != want || typ != "subrelay.netflix-charge."+want+".v1" {
			t.Errorf("StatusOfChargeType(%s) = %q, %v", typ, got, ok)
		}
		if kind, ok := events.KindOfType(typ); ok {
			t.Errorf("%s is taken for a command %s", typ, kind)
		}
	}
	for _, typ := range []string{"", "subrelay.netflix-charge.v1", "subrelay.netflix-charge..v1", "subrelay.netflix-charge.PENDING.v1", "subrelay.netflix-charge.a.b.v1", "subrelay.renew.v1"} {
		if got, ok := events.StatusOfChargeType(typ); ok {
			t.Errorf("StatusOfChargeType(%s) = %q", typ, got)
		}
	}
}

func TestChargeEvent(t *testing.T) {
	at := time.Date(2026, 3, 1, 2, 5, 0, 0, time.UTC)
	charge := events.NetflixCharge{
		Number: "I00002706", BillingSystemCustomerIdentifier: "cust-77", Amount: "9.99", Currency: "EUR", ChargeStatus: "Approved",
		ReceivedOn: ptr(at.Add(-time.Hour)), SetAsApprovedOn: &at,
	}
	e, err := charge.Event("/subrelay")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{e.ID(), e.Source(), e.Type(), e.Subject(), e.Time().Format(time.RFC3339)}
	if diff := cmp.Diff([]string{"I00002706.approved", "/subrelay", "subrelay.netflix-charge.approved.v1", "cust-77", "2026-03-01T02:05:00Z"}, got); diff != "" {
		t.Error(diff)
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := charge.Event("/subrelay"); true {
		if twice, _ := json.Marshal(again); string(twice) != string(raw) {
			t.Errorf("the same charge makes another event: %s\n%s", twice, raw)
		}
	}
	back, err := events.ReadCharge(&e)
	want := charge
	want.ChargeStatus = events.ChargeApproved // as the documentation spells it
	if diff := cmp.Diff(want, back); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestChargeEventTime(t *testing.T) {
	at := func(hour int) *time.Time { return ptr(time.Date(2026, 3, 1, hour, 0, 0, 0, time.UTC)) }
	c := events.NetflixCharge{
		Number: "1", BillingSystemCustomerIdentifier: "c",
		ReceivedOn: at(1), SetAsApprovedOn: at(2), SetAsDeclinedOn: at(3), SetAsBadRequestOn: at(4), SetAsRejectedRequestOn: at(5),
	}
	for i, state := range events.ChargeStates() {
		c.ChargeStatus = state
		if e, err := c.Event("s"); err != nil || e.Time().Hour() != i+1 {
			t.Errorf("%s: %v, %v", state, e.Time(), err)
		}
	}
	c.ChargeStatus = "ON_HOLD"
	e, err := c.Event("s")
	if err != nil || !e.Time().IsZero() || e.ID() != "1.on_hold" {
		t.Errorf("%s at %v, %v", e.ID(), e.Time(), err)
	}
	if got, err := events.ReadCharge(&e); err != nil || got.ChargeStatus != "ON_HOLD" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestChargesWithoutAnEvent(t *testing.T) {
	for _, c := range []events.NetflixCharge{
		{BillingSystemCustomerIdentifier: "c", ChargeStatus: "PENDING"},
		{Number: "1", ChargeStatus: "PENDING"},
	} {
		if e, err := c.Event("s"); err == nil {
			t.Errorf("%+v makes %v", c, e)
		}
	}
	e, err := (&events.NetflixCharge{Number: "1", BillingSystemCustomerIdentifier: "c", ChargeStatus: "PENDING"}).Event("s")
	if err != nil {
		t.Fatal(err)
	}
	e.SetType(events.ChargeType("DECLINED"))
	if _, err := events.ReadCharge(&e); err == nil {
		t.Error("a charge is read whose state is not its type's")
	}
	e.SetType(events.CommandType(events.Renew))
	if _, err := events.ReadCharge(&e); err == nil {
		t.Error("a renewal is read as a charge")
	}
	e.SetType(events.ChargeType("PENDING"))
	_ = e.SetData("application/json", []byte("{"))
	if _, err := events.ReadCharge(&e); err == nil {
		t.Error("no JSON is read as a charge")
	}
}
