package crmcom

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"subrelay/events"
)

// wireLayout is how CRM.COM writes an instant: the wall clock of a zone that it does not name.
const wireLayout = "2006-01-02T15:04:05"

// loadZone is the zone of this name. Its errors go on from the name of the setting.
func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("%q is no IANA name of a time zone", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is no IANA name of a time zone", name)
	}
	return zone, nil
}

// clock reads and writes the dates on the wire. Fractions of seconds are dropped. Every instant has a wall clock, but
// where clocks are turned back, two instants have the same one, and CRM.COM cannot be told which is meant: an operator
// who cares lets the installation, and so crmcom.time_zone, run on UTC.
type clock struct{ zone *time.Location }

// write is t on the wall clock; "" for nil, which is then not sent. check must have let t pass.
func (c clock) write(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.In(c.zone).Format(wireLayout)
}

// namedDate is a date of a command, and the member that holds it.
type namedDate struct {
	member string
	at     *time.Time // nil: not given
}

// datesOf lists the dates of an action.
func datesOf(d *events.ActionData) []namedDate {
	return append(udfDatesOf(&d.UDF),
		namedDate{"performed_on", d.PerformedOn}, namedDate{"billing_effective_date", d.BillingEffectiveDate},
		namedDate{"billable_period_start_date", d.BillablePeriodStartDate}, namedDate{"scheduled_date", d.ScheduledDate})
}

func udfDatesOf(u *events.UDF) []namedDate {
	return []namedDate{{"udf_date_1", u.Date1}, {"udf_date_2", u.Date2}, {"udf_date_3", u.Date3}, {"udf_date_4", u.Date4}}
}

// check refuses dates whose year on the wall clock has not four digits, or is none: RFC 3339 has them near its ends, and
// CRM.COM's form does not. in is the path of the object that holds them, "" or with a dot at its end.
func (c clock) check(in string, dates []namedDate) error {
	for _, d := range dates {
		if d.at == nil {
			continue
		}
		if year := d.at.In(c.zone).Year(); year < 1 || year > 9999 {
			return refused(events.CodeRequestNotPossible, fmt.Sprintf("%s%s is not in a year from 1 to 9999 in crmcom.time_zone, %s", in, d.member, c.zone))
		}
	}
	return nil
}

// dates is u's dates.
func (c clock) dates(u *events.UDF) udfDates {
	return udfDates{c.write(u.Date1), c.write(u.Date2), c.write(u.Date3), c.write(u.Date4)}
}

// udfDates takes the place of events.UDF's dates where it is embedded less deeply.
type udfDates struct {
	Date1 string `json:"udf_date_1,omitempty"`
	Date2 string `json:"udf_date_2,omitempty"`
	Date3 string `json:"udf_date_3,omitempty"`
	Date4 string `json:"udf_date_4,omitempty"`
}

var errNoDate = errors.New("is no date")

// read is the instant of a date. One that names its offset keeps it. Of two instants with the same wall clock it is the
// earlier; a wall clock that was skipped counts on from before the gap.
func (c clock) read(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	layout := wireLayout
	if !strings.Contains(text, "T") {
		layout = time.DateOnly
	}
	wall, err := time.Parse(layout, text)
	if err != nil || wall.Year() < 1 {
		return time.Time{}, errNoDate
	}
	_, before := wall.Add(-24 * time.Hour).In(c.zone).Zone()
	_, after := wall.Add(24 * time.Hour).In(c.zone).Zone()
	early := wall.Add(-time.Duration(max(before, after)) * time.Second).In(c.zone)
	if sameWall(early, wall) {
		return early, nil
	}
	return wall.Add(-time.Duration(min(before, after)) * time.Second).In(c.zone), nil
}

func sameWall(a, b time.Time) bool { return a.Format(wireLayout) == b.Format(wireLayout) }
