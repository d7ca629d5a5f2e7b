package events

import "time"

// AddMonths adds n calendar months to t, keeping the time of day and the zone. A day that the target month does not
// have becomes its last day: 31 January plus one month is 28 or 29 February, and 31 January plus two months is 31
// March. (time.Time.AddDate would normalise 31 February to 2 or 3 March.) The TVMS pages do not say how TVMS counts
// at month ends; where it counts otherwise, settling says in_doubt.
func AddMonths(t time.Time, n int) time.Time {
	year, month, day := t.Date()
	hour, minute, sec := t.Clock()
	first := time.Date(year, month+time.Month(n), 1, 0, 0, 0, 0, t.Location())
	last := time.Date(first.Year(), first.Month()+1, 0, 0, 0, 0, 0, t.Location()).Day()
	return time.Date(first.Year(), first.Month(), min(day, last), hour, minute, sec, t.Nanosecond(), t.Location())
}
