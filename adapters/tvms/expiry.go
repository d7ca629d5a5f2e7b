package tvms

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The formats of an expiry date that are not layouts.
const (
	formatSeconds = "epoch_seconds"
	formatMillis  = "epoch_ms"
	formatRFC3339 = "rfc3339"
	formatASPNET  = "aspnet"
)

// Dates outside of these years are taken for something else than an expiry date: a field that always holds 0 would
// otherwise "prove" that nothing changed.
const (
	firstYear = 1990
	lastYear  = 2200
)

// expiryFormat reads expiry dates.
type expiryFormat struct {
	format string
	zone   *time.Location // of dates without an offset, and of the answers
	keep   bool           // a date's own offset stays
}

// newExpiryFormat names the setting in its errors.
func newExpiryFormat(format, zone string) (*expiryFormat, error) {
	location, err := time.LoadLocation(zone) // "" is UTC
	if err != nil || zone == "Local" {
		return nil, fmt.Errorf("tvms.read_back.time_zone %q is no IANA time zone known here", zone)
	}
	f := &expiryFormat{format: format, zone: location}
	switch format {
	case "":
		return nil, errors.New("tvms.read_back.format is missing: epoch_seconds, epoch_ms, rfc3339, aspnet, or a layout such as 2006-01-02 15:04:05")
	case formatSeconds, formatMillis, formatASPNET:
		return f, nil
	case formatRFC3339:
		f.format = time.RFC3339
	default:
		probe := time.Date(2031, time.November, 23, 0, 0, 0, 0, time.UTC)
		read, err := time.Parse(format, probe.Format(format))
		if err != nil || !read.Equal(probe) || strings.Contains(format, "MST") { // Go guesses what a zone's letters mean
			return nil, fmt.Errorf("tvms.read_back.format %q is neither epoch_seconds, epoch_ms, rfc3339, aspnet nor a layout "+
				"with year, month and day, such as 2006-01-02 15:04:05", format)
		}
	}
	f.keep = zone == "" && strings.Contains(f.format, "07")
	return f, nil
}

// parse reads a JSON value as decoded by member.
func (f *expiryFormat) parse(value any) (time.Time, error) {
	text, ok := textOf(value)
	if !ok {
		return time.Time{}, errors.New("the expiry date is neither text nor a number")
	}
	t, err := f.parseText(strings.TrimSpace(text))
	if err != nil {
		return time.Time{}, err
	}
	if !f.keep {
		t = t.In(f.zone)
	}
	if t.Year() < firstYear || t.Year() > lastYear {
		return time.Time{}, fmt.Errorf("the expiry date lies in the year %d, which cannot be", t.Year())
	}
	return t, nil
}

func (f *expiryFormat) parseText(text string) (time.Time, error) {
	switch f.format {
	case formatSeconds:
		n, err := integer(text)
		return time.Unix(n, 0), err
	case formatMillis:
		n, err := integer(text)
		return time.UnixMilli(n), err
	case formatASPNET:
		return parseASPNET(text)
	}
	t, err := time.ParseInLocation(f.format, text, f.zone)
	if err != nil {
		return t, fmt.Errorf("the expiry date %q is not written as %q", text, f.format)
	}
	return t, nil
}

// integer reads a whole number, which JSON may write as 1.6725312e9.
func integer(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || x != math.Trunc(x) || math.Abs(x) > 1<<53 {
		return 0, fmt.Errorf("the expiry date %q is no whole number", text)
	}
	return int64(x), nil
}

// parseASPNET reads /Date(1672531200000)/ and /Date(1672531200000+0100)/. The number counts from UTC in both; the
// offset only says where it was written.
func parseASPNET(text string) (time.Time, error) {
	inner, ok1 := strings.CutPrefix(text, "/Date(")
	inner, ok2 := strings.CutSuffix(inner, ")/")
	if i := strings.LastIndexAny(inner, "+-"); i > 0 {
		inner = inner[:i]
	}
	n, err := strconv.ParseInt(inner, 10, 64)
	if !ok1 || !ok2 || err != nil {
		return time.Time{}, fmt.Errorf("the expiry date %q is not written as /Date(milliseconds)/", text)
	}
	return time.UnixMilli(n), nil
}

// member finds a value in JSON by path: a JSON pointer (RFC 6901) where path begins with "/", else names joined by
// dots. Numbers are json.Number. Its errors show nothing of the document.
func member(document []byte, path string) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(document, []byte("\xef\xbb\xbf"))))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, errors.New("the reply is no JSON")
	}
	for _, name := range pathNames(path) {
		var ok bool
		switch v := value.(type) {
		case map[string]any:
			value, ok = v[name]
		case []any:
			var i int
			if i, ok = arrayIndex(name, len(v)); ok {
				value = v[i]
			}
		}
		if !ok {
			return nil, fmt.Errorf("the reply has no %s", path)
		}
	}
	if value == nil {
		return nil, fmt.Errorf("the reply holds no value at %s", path)
	}
	return value, nil
}

func pathNames(path string) []string {
	pointer, ok := strings.CutPrefix(path, "/")
	if !ok {
		return strings.Split(path, ".")
	}
	names := strings.Split(pointer, "/")
	for i, name := range names {
		names[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
	}
	return names
}

func arrayIndex(name string, length int) (int, bool) {
	i, err := strconv.Atoi(name)
	return i, err == nil && i >= 0 && i < length && strconv.Itoa(i) == name
}

// textOf is a JSON value as text; objects, arrays and null have none.
func textOf(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
