package crmcom

import (
	"strings"
	"testing"
	"time"

	"subrelay/adapters/upstream"
	"subrelay/events"
)

func in(t *testing.T, zone string) clock {
	t.Helper()
	z, err := loadZone(zone)
	if err != nil {
		t.Fatal(err)
	}
	return clock{z}
}

func TestLoadZone(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Nicosia", "America/New_York", "Etc/GMT+5"} {
		if zone, err := loadZone(name); err != nil || zone.String() != name {
			t.Errorf("%s: %v, %v", name, zone, err)
		}
	}
	for _, name := range []string{"", "Local", "Berlin", "+02:00", "europe/../x", "CET/Nowhere"} {
		if _, err := loadZone(name); err == nil || err.Error() != quoted(name)+" is no IANA name of a time zone" {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Instants are written as the wall clock of the zone shows them, whatever zone they came in.
func TestWriteDates(t *testing.T) {
	for _, c := range []struct{ zone, instant, want string }{
		{"UTC", "2024-03-01T10:15:00Z", "2024-03-01T10:15:00"},
		{"UTC", "2024-03-01T10:15:00+02:00", "2024-03-01T08:15:00"},
		{"UTC", "2024-03-01T10:15:59.999999999Z", "2024-03-01T10:15:59"}, // not rounded
		{"Europe/Nicosia", "2024-01-01T22:30:00Z", "2024-01-02T00:30:00"},
		{"Europe/Nicosia", "2024-07-01T22:30:00Z", "2024-07-02T01:30:00"},
		{"America/New_York", "2024-01-01T00:00:00Z", "2023-12-31T19:00:00"},
		{"Europe/Berlin", "2024-03-31T00:59:59Z", "2024-03-31T01:59:59"}, // the last second before the gap
		{"Europe/Berlin", "2024-03-31T01:00:00Z", "2024-03-31T03:00:00"}, // the first one behind it
		{"Europe/Berlin", "2024-10-27T00:30:00Z", "2024-10-27T02:30:00"}, // the same wall clock twice
		{"Europe/Berlin", "2024-10-27T01:30:00Z", "2024-10-27T02:30:00"},
		{"UTC", "0999-01-01T00:00:00Z", "0999-01-01T00:00:00"},
		{"UTC", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59"},
	} {
		if got := in(t, c.zone).write(day(c.instant)); got != c.want {
			t.Errorf("%s in %s: %s", c.instant, c.zone, got)
		}
	}
	if got := in(t, "UTC").write(nil); got != "" {
		t.Errorf("nil: %q", got)
	}
}

// What the wall clock of the zone cannot show in four digits is refused before a call, by name.
func TestDatesBeyondTheWallClockAreRefused(t *testing.T) {
	const last, first = `"9999-12-31T23:00:00Z"`, `"0001-01-01T01:00:00Z"` // valid, and an hour from the ends
	check := func(b both, kind, text string) error {
		switch kind {
		case "amend":
			return b.client.CheckAmend(decode[events.AmendData](t, text))
		case "swap":
			return b.client.CheckSwap(decode[events.SwapData](t, text))
		}
		return b.netflix.CheckCreate(decode[events.NetflixCreateData](t, text))
	}
	for _, c := range []struct{ kind, text, member string }{
		{"amend", `{"performed_on":DATE}`, "performed_on"},
		{"amend", `{"billing_effective_date":DATE}`, "billing_effective_date"},
		{"amend", `{"billable_period_start_date":DATE}`, "billable_period_start_date"},
		{"amend", `{"scheduled_date":DATE}`, "scheduled_date"},
		{"amend", `{"udf_date_4":DATE}`, "udf_date_4"},
		{"swap", `{"udf_date_1":DATE}`, "udf_date_1"},
		{"swap", `{"services_to_swap_set":[{},{"to_service":{"udf_date_2":DATE}}]}`, "services_to_swap_set.to_service.udf_date_2"},
		{"netflix-create", `{"customer_email":{"email_address":"a@b.example","udf_date_3":DATE}}`, "customer_email.udf_date_3"},
	} {
		for _, zone := range []string{"UTC", "Etc/GMT+5", "Etc/GMT-5"} { // the latter is east
			s := settings(base)
			s.TimeZone = zone
			b := clients(t, s, NetflixSettings{}, upstream.Settings{})
			for date, beyond := range map[string]string{last: "Etc/GMT-5", first: "Etc/GMT+5", `"2026-01-01T00:00:00Z"`: "", `"0000-06-01T00:00:00Z"`: zone} {
				var want outcome
				if zone == beyond {
					want = outcome{Kind: "refused", Code: events.CodeRequestNotPossible,
						Message: c.member + " is not in a year from 1 to 9999 in crmcom.time_zone, " + zone}
				}
				like(t, want, check(b, c.kind, strings.Replace(c.text, "DATE", date, 1)))
			}
		}
	}
}

// A zoneless date is an instant of the zone. Where its wall clock is shown twice, it is the earlier one; where it is not
// shown, clocks count on.
func TestReadDates(t *testing.T) {
	for _, c := range []struct{ zone, text, want string }{
		{"UTC", "2017-01-01T00:00:00", "2017-01-01T00:00:00Z"},
		{"Europe/Nicosia", "2017-01-01T00:00:00", "2016-12-31T22:00:00Z"},
		{"Europe/Nicosia", "2017-07-01", "2017-06-30T21:00:00Z"},
		{"America/New_York", "2023-12-31T19:00:00", "2024-01-01T00:00:00Z"},
		{"Pacific/Kiritimati", "2024-01-01T00:00:00", "2023-12-31T10:00:00Z"},
		{"Europe/Berlin", "2024-03-31T01:59:59", "2024-03-31T00:59:59Z"},
		{"Europe/Berlin", "2024-03-31T02:00:00", "2024-03-31T01:00:00Z"}, // in the gap: 03:00
		{"Europe/Berlin", "2024-03-31T02:30:00", "2024-03-31T01:30:00Z"},
		{"Europe/Berlin", "2024-03-31T03:00:00", "2024-03-31T01:00:00Z"},
		{"Europe/Berlin", "2024-10-27T01:59:59", "2024-10-26T23:59:59Z"},
		{"Europe/Berlin", "2024-10-27T02:00:00", "2024-10-27T00:00:00Z"}, // the overlap
		{"Europe/Berlin", "2024-10-27T02:59:59", "2024-10-27T00:59:59Z"},
		{"Europe/Berlin", "2024-10-27T03:00:00", "2024-10-27T02:00:00Z"},
		{"America/New_York", "2024-03-10T02:30:00", "2024-03-10T07:30:00Z"},
		{"America/New_York", "2024-11-03T01:30:00", "2024-11-03T05:30:00Z"},
		{"Australia/Lord_Howe", "2024-10-06T02:15:00", "2024-10-05T15:45:00Z"}, // a gap of half an hour
		{"Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30T22:00:00Z"},        // a day that was left out
		{"Europe/Berlin", "2024-03-01T10:15:00Z", "2024-03-01T10:15:00Z"},      // whoever names an offset means it
		{"Europe/Berlin", "2024-03-01T10:15:00-05:00", "2024-03-01T15:15:00Z"},
		{"UTC", "2024-03-01T10:15:00.25", "2024-03-01T10:15:00.25Z"},
	} {
		got, err := in(t, c.zone).read(c.text)
		if err != nil || !got.Equal(*day(c.want)) {
			t.Errorf("%s in %s: %s, %v", c.text, c.zone, got.UTC().Format(time.RFC3339Nano), err)
		}
	}
	for _, text := range []string{
		"", "soon", "T", "2024", "2024-03", "2024-3-1", "01/03/2024", "2024-02-30T00:00:00", "2024-03-01T25:00:00", "2024-03-01T10:15",
		"2024-03-01 10:15:00", "2024-03-01T10:15:00+0100", "2024-03-01T10:15:00 Europe/Berlin", "0000-01-01T00:00:00", "0000-01-01", "1709258400", "null",
	} {
		if got, err := in(t, "UTC").read(text); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}

// What is written is read back, but for the second of two instants with one wall clock.
func TestDatesThereAndBack(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"} {
		c := in(t, zone)
		for instant := *day("2024-01-01T00:00:00Z"); instant.Year() < 2025; instant = instant.Add(17 * time.Minute) {
			got, err := c.read(c.write(&instant))
			if err != nil {
				t.Fatal(err)
			}
			_, before := instant.Add(-3 * time.Hour).In(c.zone).Zone()
			_, now := instant.In(c.zone).Zone()
			if back := time.Duration(before-now) * time.Second; !got.Equal(instant) && (back <= 0 || !got.Equal(instant.Add(-back))) {
				t.Fatalf("%s in %s: %s", instant, zone, got.UTC())
			}
		}
	}
}

// Every date of a command goes out in the zone of the settings, and every date of a reply is of it.
func TestDatesOfTheSettings(t *testing.T) {
	s := settings("")
	s.TimeZone = "America/New_York"
	never := false
	n := NetflixSettings{Charges: ChargesSettings{SendStatus: &never}}
	s.BaseURL = serve(t, &installation{t: t, answer: data(`[{"number":"1","charge_status":"PENDING","received_on":"2024-07-01T00:00:00"}]`)})
	got, err := clients(t, s, n, upstream.Settings{}).netflix.ListCharges(t.Context())
	like(t, outcome{}, err)
	if len(got) != 1 || !got[0].ReceivedOn.Equal(*day("2024-07-01T04:00:00Z")) {
		t.Errorf("%v", got)
	}
	if text := strings.TrimPrefix(got[0].ReceivedOn.Format(time.RFC3339), "2024-07-01T"); text != "00:00:00-04:00" {
		t.Error(text)
	}
}
