package natsjs

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	cejs "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"subrelay/events"
)

// specEvent is the event of the specification's examples.
func specEvent() event.Event {
	e := event.New()
	e.SetID("1234-1234-1234")
	e.SetSource("/mycontext/subcontext")
	e.SetType("com.example.someevent")
	e.SetTime(time.Date(2018, 4, 5, 3, 56, 24, 0, time.UTC))
	return e
}

func withData(e event.Event, contentType string, data string) event.Event {
	if contentType != "" {
		e.SetDataContentType(contentType)
	}
	e.DataEncoded = []byte(data)
	return e
}

const specJSON = `{"specversion":"1.0","id":"1234-1234-1234","source":"/mycontext/subcontext","type":"com.example.someevent",` +
	`"time":"2018-04-05T03:56:24Z","datacontenttype":"application/json","data":{"a":[1, 2.50]}}`

func TestDecodeMessage(t *testing.T) {
	jsonEvent := withData(specEvent(), "application/json", `{"a":[1, 2.50]}`)
	binary := func(more ...string) nats.Header {
		h := nats.Header{"ce-specversion": {"1.0"}, "ce-type": {"com.example.someevent"}, "ce-time": {"2018-04-05T03:56:24Z"},
			"ce-id": {"1234-1234-1234"}, "ce-source": {"/mycontext/subcontext"}}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = []string{more[i+1]}
		}
		return h
	}
	withExtension := func(name, value string) event.Event {
		e := specEvent()
		e.SetExtension(name, value)
		return e
	}
	withSubject := func(s string) event.Event {
		e := specEvent()
		e.SetSubject(s)
		return e
	}
	tests := map[string]struct {
		header nats.Header
		data   string
		want   event.Event
	}{
		"the specification's example, binary":     {binary("ce-datacontenttype", "application/json"), `{"a":[1, 2.50]}`, jsonEvent},
		"the specification's example, structured": {nil, specJSON, jsonEvent},
		"structured":                                {nats.Header{"Content-Type": {"application/cloudevents+json"}}, specJSON, jsonEvent},
		"structured with charset":                   {nats.Header{"content-type": {"application/cloudevents+json; charset=UTF-8"}}, specJSON, jsonEvent},
		"structured, named without format":          {nats.Header{"CONTENT-TYPE": {"Application/CloudEvents"}}, specJSON, jsonEvent},
		"structured although there are ce- headers": {binary("Content-Type", "application/cloudevents+json", "ce-id", "other"), specJSON, jsonEvent},
		"no header of ours":                         {nats.Header{"Nats-Msg-Id": {"1"}, "Content-Type": {"application/json"}}, specJSON, jsonEvent},
		"header names in any case": {nats.Header{"CE-SpecVersion": {"1.0"}, "Ce-Type": {"com.example.someevent"}, "ce-TIME": {"2018-04-05T03:56:24Z"},
			"CE-ID": {"1234-1234-1234"}, "cE-source": {"/mycontext/subcontext"}}, "", specEvent()},
		"an extension in any case":       {binary("Ce-PartitionKey", "k"), "", withExtension("partitionkey", "k")},
		"percent-coded":                  {binary("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"), "", withSubject("Euro € 😀")},
		"percent-coded in lower case":    {binary("ce-subject", "Euro%20%e2%82%ac%20%f0%9f%98%80"), "", withSubject("Euro € 😀")},
		"percent-coded without need":     {binary("ce-subject", "%41bc"), "", withSubject("Abc")},
		"one round of decoding only":     {binary("ce-subject", "%2541"), "", withSubject("%41")},
		"percent, quote, space":          {binary("ce-subject", "100%25%20%22x%22"), "", withSubject(`100% "x"`)},
		"a quoted value":                 {binary("ce-subject", `"a \"b\" \\ c%20d"`), "", withSubject(`a "b" \ c d`)},
		"white space around":             {binary("ce-subject", "  a \t"), "", withSubject("a")},
		"uncoded, as the SDK sends it":   {binary("ce-subject", `50 % "ü"`), "", withSubject(`50 % "ü"`)},
		"Content-Type for the data":      {binary("Content-Type", "text/plain"), "hello", withData(specEvent(), "text/plain", "hello")},
		"ce-datacontenttype comes first": {binary("Content-Type", "text/plain", "ce-datacontenttype", "application/json"), `{"a":[1, 2.50]}`, jsonEvent},
		"a number beyond a float64": {nil, strings.Replace(specJSON, `[1, 2.50]`, `[ 1e400,-2E+999 ]`, 1),
			withData(specEvent(), "application/json", `{"a":[ 1e400,-2E+999 ]}`)},
		"a number beyond a float64, before the rest": {nil, `{"d\u0061ta" : 1e400 ,` + strings.Replace(specJSON[1:], `,"data":{"a":[1, 2.50]}`, "", 1),
			withData(specEvent(), "application/json", `1e400`)},
		"a number beyond a float64, of no type": {nil, strings.Replace(specJSON, `"datacontenttype":"application/json","data":{"a":[1, 2.50]}`, `"data":{"a":1e400}`, 1),
			withData(specEvent(), "", `{"a":1e400}`)},
		"no data content type": {binary(), "{}", withData(specEvent(), "", "{}")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeMessage(tt.header, []byte(tt.data))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want.String(), got.String()); diff != "" {
				t.Errorf("the event:\n%s", diff)
			}
			if !bytes.Equal(got.Data(), tt.want.Data()) {
				t.Errorf("its data are %s", got.Data())
			}
		})
	}
}

// Whether a number is too large is for the schema to say: the SDK's reader loses its way behind one.
func TestDataKeepNumbersBeyondAFloat64(t *testing.T) {
	for _, data := range []string{`1e400`, `{"a":1e400}`, `{"a":1e400 , "b":[-1e999,{"x":1e400}]}`, `[{"b":1e400},{"c":1}]`} {
		for _, frame := range []string{
			`{"specversion":"1.0","datacontenttype":"application/json","id":"1","source":"s","type":"t","data":DATA}`,
			`{"specversion":"1.0","datacontenttype":"application/json","data":DATA,"id":"1","source":"s","type":"t"}`,
			`{"specversion":"1.0","data": DATA ,"id":"1","source":"s","type":"t","datacontenttype":"application/json"}`,
			`{"data":DATA,"specversion":"1.0","id":"1","source":"s","type":"t"}`,
		} {
			e, err := DecodeMessage(nil, []byte(strings.Replace(frame, "DATA", data, 1)))
			if err != nil {
				t.Errorf("%s with %s: %v", frame, data, err)
			} else if string(e.Data()) != data || e.ID() != "1" || e.Type() != "t" {
				t.Errorf("%s with %s is %s", frame, data, e)
			}
		}
	}
}

func TestDecodeMessageRefuses(t *testing.T) {
	head := func(pairs ...string) nats.Header {
		h := nats.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
		}
		return h
	}
	tests := map[string]struct {
		header nats.Header
		data   string
		say    string
	}{
		"nothing":                  {nil, "", "empty"},
		"no JSON":                  {nil, `{"id": hunter2}`, "at byte 8"},
		"JSON with more behind":    {nil, specJSON + "x", "no JSON"},
		"a JSON string":            {nil, `"x"`, "no object"},
		"a batch by content type":  {head("Content-Type", "application/cloudevents-batch+json"), "[]", "batch"},
		"a batch by its looks":     {nil, "[" + specJSON + "]", "batch"},
		"another event format":     {head("content-type", "application/cloudevents+avro"), "x", "application/cloudevents+json"},
		"another charset":          {head("content-type", "application/cloudevents+json; charset=utf-16"), specJSON, "utf-8"},
		"a broken content type":    {head("content-type", "application/cloudevents+json; charset"), specJSON, "Content-Type"},
		"no UTF-8":                 {nil, "{\"id\":\"\xff\"}", "not UTF-8"},
		"JSON but no event":        {nil, `{"id":"1"}`, "no specversion"},
		"specversion 0.3":          {nil, strings.Replace(specJSON, `"1.0"`, `"0.3"`, 1), `"0.3"`},
		"specversion 2.0":          {nil, strings.Replace(specJSON, `"1.0"`, `"2.0"`, 1), `"2.0"`},
		"specversion a number":     {nil, strings.Replace(specJSON, `"1.0"`, `1.0`, 1), "no string"},
		"an id that is a number":   {nil, strings.Replace(specJSON, `"1234-1234-1234"`, `1234`, 1), "no CloudEvent"},
		"a time and a number":      {nil, strings.NewReplacer(`2018-04-05T`, `yesterday `, `2.50`, `1e400`).Replace(specJSON), "no CloudEvent"},
		"a number in text":         {nil, strings.NewReplacer(`application/json`, `text/plain`, `2.50`, `1e400`).Replace(specJSON), "no CloudEvent"},
		"a time that is none":      {nil, strings.Replace(specJSON, `2018-04-05T`, `yesterday `, 1), "no CloudEvent"},
		"binary, no specversion":   {head("ce-id", "1"), "", "no ce-specversion"},
		"binary, specversion 0.3":  {head("ce-specversion", "0.3"), "", `"0.3"`},
		"binary, time":             {head("ce-specversion", "1.0", "ce-time", "now"), "", "ce-time"},
		"binary, source":           {head("ce-specversion", "1.0", "ce-source", "%20:"), "", "ce-source"},
		"binary, a bad name":       {head("ce-specversion", "1.0", "ce-a-b", "x"), "", "ce-a-b"},
		"binary, data as a header": {head("ce-specversion", "1.0", "ce-data", "x"), "", "payload"},
		"an attribute twice":       {head("ce-specversion", "1.0", "ce-id", "1", "ce-id", "2"), "", "ce-id is given more than once"},
		"twice in another case":    {head("ce-specversion", "1.0", "ce-id", "1", "CE-ID", "2"), "", "ce-id is given more than once"},
		"overlong coding of space": {head("ce-specversion", "1.0", "ce-id", "%C0%A0"), "", "not UTF-8"},
		"half a character":         {head("ce-specversion", "1.0", "ce-id", "%E2%82x"), "", "not UTF-8"},
		"raw bytes":                {head("ce-specversion", "1.0", "ce-id", "\xff"), "", "not UTF-8"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e, err := DecodeMessage(tt.header, []byte(tt.data))
			var refusal *events.Error
			if !errors.As(err, &refusal) || refusal.Kind != events.Refused || refusal.Code != events.CodeUndecodable {
				t.Fatalf("not refused as undecodable: %v, %v", e, err)
			}
			if !strings.Contains(refusal.Message, tt.say) {
				t.Errorf("the message does not say %q: %s", tt.say, refusal.Message)
			}
		})
	}
}

func TestDecodeMessageErrorsShowNoData(t *testing.T) {
	for _, data := range []string{
		`{"specversion":"1.0","id":7,"data":{"password":"hunter2"}}`, `{"data":{"password":"hunter2"},"specversion":"1.0","id":{}}`,
		`{"specversion":"1.0","data":"hunter2" "x"}`, `hunter2`, `{"password":"hunter2"}`, `{"specversion":"1.0","time":7,"data":"hunter2"}`,
		`{"specversion":"1.0","ext":{"password":"hunter2"}}`, `{"specversion":"1.0","dataschema":{"password":"hunter2"}}`,
		`{"specversion":"1.0","id":{"password":"hunter2"}}`, `{"specversion":"1.0","datacontenttype":"text/plain","data":{"token":"hunter2"},"time":7}`,
	} {
		if _, err := DecodeMessage(nil, []byte(data)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", data, err)
		}
	}
}

func TestEncodeAsTheSpecificationSays(t *testing.T) {
	e := withData(specEvent(), "application/json", `{"a":1}`)
	e.SetSubject("Euro € 😀")
	e.SetExtension("quoted", `100% "x"`)
	header, data, err := EncodeBinary(&e)
	if err != nil {
		t.Fatal(err)
	}
	want := nats.Header{
		"ce-specversion": {"1.0"}, "ce-type": {"com.example.someevent"}, "ce-time": {"2018-04-05T03:56:24Z"}, "ce-id": {"1234-1234-1234"},
		"ce-source": {"/mycontext/subcontext"}, "ce-datacontenttype": {"application/json"},
		"ce-subject": {"Euro%20%E2%82%AC%20%F0%9F%98%80"}, "ce-quoted": {"100%25%20%22x%22"},
	}
	if diff := cmp.Diff(want, header); diff != "" || string(data) != `{"a":1}` {
		t.Errorf("binary: data %s, headers\n%s", data, diff)
	}
	header, data, err = EncodeStructured(&e)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(nats.Header{"Content-Type": {"application/cloudevents+json"}}, header); diff != "" {
		t.Errorf("structured: headers\n%s", diff)
	}
	if back, err := DecodeMessage(header, data); err != nil || back.String() != e.String() {
		t.Errorf("structured: there and back: %v, %v", back, err)
	}
	invalid := event.New()
	if _, _, err := EncodeBinary(&invalid); events.KindOf(err) != events.Refused {
		t.Errorf("an invalid event in binary mode: %v", err)
	}
	if _, _, err := EncodeStructured(&invalid); events.KindOf(err) != events.Refused {
		t.Errorf("an invalid event in structured mode: %v", err)
	}
}

// TestBindingMeetsTheSDK reads what the SDK's own JetStream protocol writes, and lets it read what we write.
func TestBindingMeetsTheSDK(t *testing.T) {
	e := withData(specEvent(), "application/json", `{"a":1}`)
	e.SetSubject("C-10042 ü") // the SDK does not code values
	e.SetExtension("correlationid", "x")
	for name, ctx := range map[string]func() (nats.Header, []byte){
		"structured": func() (nats.Header, []byte) {
			var buf bytes.Buffer
			header, err := cejs.WriteMsg(binding.WithForceStructured(t.Context()), (*binding.EventMessage)(&e), &buf)
			if err != nil {
				t.Fatal(err)
			}
			return header, buf.Bytes()
		},
		"binary": func() (nats.Header, []byte) {
			var buf bytes.Buffer
			header, err := cejs.WriteMsg(binding.WithForceBinary(t.Context()), (*binding.EventMessage)(&e), &buf)
			if err != nil {
				t.Fatal(err)
			}
			return header, buf.Bytes()
		},
	} {
		header, data := ctx()
		got, err := DecodeMessage(header, data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(e.String(), got.String()); diff != "" {
			t.Errorf("%s, from the SDK:\n%s", name, diff)
		}
	}
	e.SetSubject("C-10042")
	for name, encode := range map[string]func(*event.Event) (nats.Header, []byte, error){"structured": EncodeStructured, "binary": EncodeBinary} {
		header, data, err := encode(&e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := binding.ToEvent(t.Context(), cejs.NewMessage(&nats.Msg{Header: header, Data: data}))
		if err != nil {
			t.Fatalf("%s: the SDK cannot read it: %v", name, err)
		}
		if diff := cmp.Diff(e.String(), got.String()); diff != "" {
			t.Errorf("%s, read by the SDK:\n%s", name, diff)
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add("application/cloudevents+json", "", "", []byte(specJSON))
	f.Add("", "ce-id", "%41", []byte("{}"))
	f.Add("text/plain; charset=x", "CE-Time", `"2018-04-05T03:56:24Z"`, []byte("x"))
	f.Add("application/cloudevents-batch+json", "ce-dataschema", "%zz%", []byte("[]"))
	f.Fuzz(func(t *testing.T, contentType, name, value string, data []byte) {
		header := nats.Header{"ce-specversion": {"1.0"}}
		if contentType != "" {
			header["Content-Type"] = []string{contentType}
		}
		header[name] = append(header[name], value)
		for _, h := range []nats.Header{nil, header} {
			e, err := DecodeMessage(h, data)
			if err == nil {
				if e.SpecVersion() != "1.0" {
					t.Errorf("specversion %q was let through", e.SpecVersion())
				}
				_, _ = events.ReadCommand(e)
				continue
			}
			if got := events.AsError(err); got.Kind != events.Refused || got.Code != events.CodeUndecodable || len(got.Message) > 1000 {
				t.Errorf("the error is %+v", got)
			}
		}
	})
}

func FuzzBinding(f *testing.F) {
	f.Add("1", "/s", "C-10042", "x", `{"a":1}`, int64(1700000000000000000))
	f.Add("%41", "urn:x", `Euro € "😀" 100%`, " lead", "", int64(0))
	f.Add(`"q"`, "//h/p?q", "\u0080", `back\slash`, "[1]", int64(-1))
	f.Fuzz(func(t *testing.T, id, source, subject, extension, data string, nanos int64) {
		e := event.New()
		e.SetID(id)
		e.SetSource(source)
		e.SetType("subrelay.renew.v1")
		e.SetSubject(subject)
		e.SetTime(time.Unix(0, nanos))
		if extension != "" {
			e.SetExtension("ext", extension)
		}
		if data != "" {
			e = withData(e, "application/json", data)
		}
		header, body, err := EncodeBinary(&e)
		if err != nil {
			return // no valid event
		}
		for name, values := range header {
			for _, c := range []byte(values[0]) {
				if c <= ' ' || c > '~' || c == '"' {
					t.Errorf("the header %s has the byte %#x", name, c)
				}
			}
		}
		got, err := DecodeMessage(header, body)
		if err != nil {
			for _, s := range []string{id, source, subject, extension} {
				if strings.ToValidUTF8(s, "") != s {
					return // attributes are UTF-8
				}
			}
			t.Fatalf("%v cannot be read again: %v", header, err)
		}
		if diff := cmp.Diff(e.String(), got.String()); diff != "" {
			t.Errorf("there and back:\n%s", diff)
		}
	})
}

func BenchmarkDecodeStructured(b *testing.B) {
	data := []byte(`{"specversion":"1.0","id":"inv-2026-001-C-10042","source":"/billing","type":"subrelay.renew.v1","subject":"C-10042",` +
		`"time":"2026-11-22T10:00:00Z","datacontenttype":"application/json","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",` +
		`"data":{"customer_mapping_id":"C-10042","months":1,"crm_service":"IPTV","from_expire_date":true}}`)
	header := nats.Header{"Content-Type": {"application/cloudevents+json"}, "Nats-Msg-Id": {"x"}}
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := DecodeMessage(header, data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBinary(b *testing.B) {
	e := withData(specEvent(), "application/json", `{"customer_mapping_id":"C-10042","months":1}`)
	header, data, err := EncodeBinary(&e)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeMessage(header, data); err != nil {
			b.Fatal(err)
		}
	}
}
