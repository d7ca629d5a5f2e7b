package tvms

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestExpiryFormats(t *testing.T) {
	const day = "2006-01-02 15:04:05"
	for _, c := range []struct{ format, zone, value, want string }{
		{formatSeconds, "", `1798761599`, "2026-12-31T23:59:59Z"},
		{formatSeconds, "", `"1798761599"`, "2026-12-31T23:59:59Z"},
		{formatSeconds, "Europe/Berlin", `1798761599`, "2027-01-01T00:59:59+01:00"},
		{formatSeconds, "", `1.798761599e9`, "2026-12-31T23:59:59Z"},
		{formatMillis, "", `1798761599000`, "2026-12-31T23:59:59Z"},
		{formatRFC3339, "", `"2026-12-31T23:59:59+03:00"`, "2026-12-31T23:59:59+03:00"},
		{formatRFC3339, "Europe/Berlin", `"2026-12-31T23:59:59Z"`, "2027-01-01T00:59:59+01:00"},
		{formatASPNET, "", `"/Date(1798761599000)/"`, "2026-12-31T23:59:59Z"},
		{formatASPNET, "", `"\/Date(1798761599000+0200)\/"`, "2026-12-31T23:59:59Z"},
		{formatASPNET, "Asia/Kathmandu", `"/Date(1798761599000-0500)/"`, "2027-01-01T05:44:59+05:45"},
		{day, "", `"2026-12-31 23:59:59"`, "2026-12-31T23:59:59Z"},
		{day, "Europe/Berlin", `" 2026-07-31 23:59:59 "`, "2026-07-31T23:59:59+02:00"},
		{"02.01.2006", "", `"31.12.2026"`, "2026-12-31T00:00:00Z"},
		{"1/2/2006 3:04 PM", "", `"12/31/2026 4:05 PM"`, "2026-12-31T16:05:00Z"},
	} {
		f, err := newExpiryFormat(c.format, c.zone)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		value, err := member([]byte(`{"a":`+c.value+`}`), "a")
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		got, err := f.parse(value)
		if err != nil || got.Format(time.RFC3339) != c.want {
			t.Errorf("%+v: %s, %v", c, got.Format(time.RFC3339), err)
		}
	}
}

func TestExpiryRefusesWhatIsNoDate(t *testing.T) {
	for format, values := range map[string][]string{
		formatSeconds: {`0`, `-1`, `""`, `"tomorrow"`, `1.5`, `1e300`, `true`, `1798761599000`, `99999999999999999999`},
		formatMillis:  {`0`, `1798761599`, `"x"`},
		formatRFC3339: {`"2026-12-31"`, `""`, `"0001-01-01T00:00:00Z"`, `1798761599`},
		formatASPNET:  {`"/Date(-62135596800000)/"`, `"/Date()/"`, `"Date(1)"`, `"/Date(1798761599000"`, `1798761599000`, `"/Date(x+1)/"`},
		"2006-01-02":  {`"2026-12-31 23:59"`, `"2026-13-01"`, `"1900-01-01"`},
	} {
		f, err := newExpiryFormat(format, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range values {
			value, err := member([]byte(`{"a":`+text+`}`), "a")
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.parse(value); err == nil {
				t.Errorf("%s of %s gave %s", format, text, got)
			}
		}
	}
}

func TestExpiryFormatsThatAreRefused(t *testing.T) {
	for _, c := range []struct{ format, zone, want string }{
		{"", "", "tvms.read_back.format is missing"},
		{"epoch", "", "tvms.read_back.format"},
		{"YYYY-MM-DD", "", "tvms.read_back.format"},
		{"15:04", "", "tvms.read_back.format"},
		{"2006-01", "", "tvms.read_back.format"},
		{"2006-01-02 MST", "", "tvms.read_back.format"},
		{formatSeconds, "Mars/Olympus", "tvms.read_back.time_zone"},
		{formatSeconds, "Local", "tvms.read_back.time_zone"},
	} {
		if _, err := newExpiryFormat(c.format, c.zone); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestMember(t *testing.T) {
	doc := []byte("\xef\xbb\xbf" + `{"a":{"b.c":1,"d":[{"e":"x"},null]},"f/g":true,"":"empty"}`)
	for path, want := range map[string]string{
		"/a/b.c": "1", "/a/d/0/e": "x", "a.d.0.e": "x", "/f~1g": "true", "/": "empty",
	} {
		got, err := member(doc, path)
		text, ok := textOf(got)
		if err != nil || !ok || text != want {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	for _, path := range []string{"x", "a.b.c", "/a/d/2", "/a/d/1", "/a/d/00", "/a/d/-1", "/a/d/e", "/f~1g/x", "a.d.0.e.f"} {
		if got, err := member(doc, path); err == nil {
			t.Errorf("%s: %v", path, got)
		}
	}
	if _, err := member([]byte("<html>"), "a"); err == nil {
		t.Error("HTML has a member")
	}
}

func FuzzExpiry(f *testing.F) {
	for _, format := range []string{formatSeconds, formatMillis, formatRFC3339, formatASPNET, "2006-01-02 15:04:05"} {
		for _, value := range []string{`1798761599`, `"/Date(1798761599000+0200)/"`, `"2026-12-31T23:59:59Z"`, `-9e99`, `null`, `[0]`, `"2026-02-30 00:00:00"`} {
			f.Add(format, "Europe/Berlin", []byte(`{"a":[`+value+`]}`), "/a/0")
		}
	}
	f.Fuzz(func(t *testing.T, format, zone string, document []byte, path string) {
		reader, err := newExpiryFormat(format, zone)
		if err != nil {
			return
		}
		value, err := member(document, path)
		if err != nil {
			return
		}
		got, err := reader.parse(value)
		if err != nil {
			return
		}
		if !json.Valid(document) && !json.Valid([]byte(strings.TrimPrefix(string(document), "\xef\xbb\xbf"))) {
			t.Errorf("a date out of what is no JSON: %q", document)
		}
		if got.Year() < firstYear || got.Year() > lastYear {
			t.Errorf("%s", got)
		}
	})
}
