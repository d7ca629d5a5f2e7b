package events_test

import (
	"testing"
	"time"

	"subrelay/events"
)

func TestAddMonths(t *testing.T) {
	for _, tc := range []struct {
		from string
		n    int
		want string
	}{
		{"2026-01-15T23:59:59Z", 1, "2026-02-15T23:59:59Z"},
		{"2026-01-31T12:00:00Z", 1, "2026-02-28T12:00:00Z"},
		{"2028-01-31T12:00:00Z", 1, "2028-02-29T12:00:00Z"},
		{"2026-01-31T12:00:00Z", 2, "2026-03-31T12:00:00Z"},
		{"2026-10-31T00:00:00Z", 1, "2026-11-30T00:00:00Z"},
		{"2026-12-31T00:00:00Z", 1, "2027-01-31T00:00:00Z"},
		{"2026-08-30T00:00:00Z", 6, "2027-02-28T00:00:00Z"},
		{"2028-02-29T00:00:00Z", 12, "2029-02-28T00:00:00Z"},
		{"2026-03-31T00:00:00Z", -1, "2026-02-28T00:00:00Z"},
		{"2026-05-05T05:05:05Z", 0, "2026-05-05T05:05:05Z"},
	} {
		from, _ := time.Parse(time.RFC3339, tc.from)
		if got := events.AddMonths(from, tc.n).Format(time.RFC3339); got != tc.want {
			t.Errorf("AddMonths(%s, %d) = %s, want %s", tc.from, tc.n, got, tc.want)
		}
	}
}
