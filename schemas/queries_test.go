package schemas_test

import (
	"encoding/json"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"subrelay/events"
	"subrelay/schemas"
)

// querySchema compiles the schema of a request or reply.
func querySchema(t *testing.T, text string) (doc map[string]any, compiled *jsonschema.Schema) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	doc = value.(map[string]any)
	id := doc["$id"].(string)
	if err := c.AddResource(id, doc); err != nil {
		t.Fatal(err)
	}
	compiled, err = c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	return doc, compiled
}

func valid(t *testing.T, s *jsonschema.Schema, text string) bool {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value) == nil
}

func TestQueryRequestsAreDescribed(t *testing.T) {
	for _, spec := range events.QuerySpecs() {
		t.Run(string(spec.Name), func(t *testing.T) {
			request, _, err := schemas.Query(string(spec.Name))
			if err != nil {
				t.Fatal(err)
			}
			doc, s := querySchema(t, request)
			described := map[string]string{}
			properties, _ := doc["properties"].(map[string]any)
			for name, p := range properties {
				described[name], _ = p.(map[string]any)["description"].(string)
			}
			known := map[string]string{}
			for _, m := range spec.Members() {
				known[m.Name] = m.Means
			}
			if diff := cmp.Diff(known, described); diff != "" {
				t.Errorf("members (-code +schema):\n%s", diff)
			}
			both := map[string]string{}
			for _, m := range spec.Choice {
				both[m.Name] = "x"
				one, _ := json.Marshal(map[string]string{m.Name: strings.Repeat("x", events.MaxQueryValue)})
				long, _ := json.Marshal(map[string]string{m.Name: strings.Repeat("x", events.MaxQueryValue+1)})
				if !valid(t, s, string(one)) || valid(t, s, string(long)) || valid(t, s, `{"`+m.Name+`":"a\nb"}`) || valid(t, s, `{"`+m.Name+`":""}`) {
					t.Errorf("%s alone is not taken as the code takes it", m.Name)
				}
			}
			if raw, _ := json.Marshal(both); valid(t, s, string(raw)) != (len(both) < 2) {
				t.Errorf("%s: the schema says otherwise than the code", raw)
			}
			if valid(t, s, `{}`) != (len(spec.Choice) == 0) || valid(t, s, `{"other":"x"}`) {
				t.Error("the schema takes too much or too little")
			}
		})
	}
}

func TestQueryRepliesAreDescribed(t *testing.T) {
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	promotion := events.NetflixPromotion{Code: "P", Name: "n", Description: "d", EffectiveFrom: &at, ExpiresOn: &at}
	replies := map[events.QueryName][]any{
		events.TVMSCustomerQuery: {events.TVMSCustomer{}, events.TVMSCustomer{Status: "Active", ExpiresAt: &at}},
		events.SubscriptionQuery: {
			events.Subscription{Services: []events.SubscribedService{}},
			events.Subscription{ID: "1", Number: "S1", LifeCycleState: "EFFECTIVE", Services: []events.SubscribedService{
				{}, {ID: "2", LifeCycleState: "EFFECTIVE", Product: events.ServiceIdentifier{ID: "3", Code: "c", AlternativeCode: "a"}},
			}},
		},
		events.NetflixSubscriptionQuery: {
			events.NetflixSubscriptions{Subscriptions: []events.NetflixSubscription{
				{}, {SubscriptionNumber: "1", NetflixState: "EFFECTIVE", LifeCycleState: "EFFECTIVE", Promotions: []events.NetflixPromotion{{}, promotion}, Prices: []string{"EUR 9.99"}},
			}},
		},
		events.NetflixPromotionsQuery: {events.NetflixPromotions{Promotions: []events.NetflixPromotion{{}, promotion}}},
	}
	for _, spec := range events.QuerySpecs() {
		t.Run(string(spec.Name), func(t *testing.T) {
			_, reply, err := schemas.Query(string(spec.Name))
			if err != nil {
				t.Fatal(err)
			}
			doc, s := querySchema(t, reply)
			for _, v := range replies[spec.Name] {
				raw, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				if !valid(t, s, string(raw)) {
					t.Errorf("the schema does not take %s", raw)
				}
			}
			if len(replies[spec.Name]) == 0 {
				t.Fatal("no reply is tested")
			}
			agree(t, doc, doc, reflect.TypeOf(replies[spec.Name][0]))
		})
	}
	text, err := fs.ReadFile(schemas.Files(), "queries/failure.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, s := querySchema(t, string(text))
	agree(t, doc, doc, reflect.TypeFor[events.QueryFailure]())
	if raw, _ := json.Marshal(events.QueryFailure{Code: "busy", Message: "m", RetryAfter: 1}); !valid(t, s, string(raw)) {
		t.Errorf("the schema does not take %s", raw)
	}
}

// agree checks that an object's schema, and those of what it holds, have the members of the Go type.
func agree(t *testing.T, doc, object map[string]any, typ reflect.Type) {
	t.Helper()
	all, always := fields(typ)
	properties := find(t, object, "properties")
	if diff := cmp.Diff(all, members(properties)); diff != "" {
		t.Errorf("members of %s (-Go +schema):\n%s", typ, diff)
	}
	required := []string{}
	list, _ := object["required"].([]any)
	for _, name := range list {
		required = append(required, name.(string))
	}
	slices.Sort(required)
	if diff := cmp.Diff(always, required); diff != "" || object["additionalProperties"] != false {
		t.Errorf("required of %s (-Go +schema), other members %v:\n%s", typ, object["additionalProperties"], diff)
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		inner := f.Type
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		property := find(t, properties, name)
		if inner.Kind() == reflect.Slice {
			inner, property = inner.Elem(), find(t, property, "items")
		}
		if ref, ok := property["$ref"].(string); ok && inner.Kind() == reflect.Struct {
			agree(t, doc, at(doc, ref).(map[string]any), inner)
		}
	}
}
