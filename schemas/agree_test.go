package schemas_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
	"subrelay/schemas"
)

func readJSON(t testing.TB, name string) map[string]any {
	t.Helper()
	raw, err := fs.ReadFile(schemas.Files(), name)
	if err != nil {
		t.Fatal(err)
	}
	doc, ok := decode(t, raw).(map[string]any)
	if !ok {
		t.Fatalf("%s is no object", name)
	}
	return doc
}

// find walks down a document by member names.
func find(t *testing.T, doc map[string]any, path ...string) map[string]any {
	t.Helper()
	for _, name := range path {
		next, ok := doc[name].(map[string]any)
		if !ok {
			t.Fatalf("no object %q on the way %v", name, path)
		}
		doc = next
	}
	return doc
}

func members(m map[string]any) []string {
	names := []string{}
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// fields lists the JSON names of a struct's fields, and those that are always written.
func fields(typ reflect.Type) (all, always []string) {
	all, always = []string{}, []string{}
	for i := range typ.NumField() {
		name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		switch {
		case typ.Field(i).Anonymous:
			within, below := fields(typ.Field(i).Type)
			all, always = append(all, within...), append(always, below...)
			continue
		case name == "-":
			continue
		}
		all = append(all, name)
		if options == "" {
			always = append(always, name)
		}
	}
	slices.Sort(all)
	slices.Sort(always)
	return all, always
}

func TestGoTypesAndSchemasHaveTheSameMembers(t *testing.T) {
	result := []string{"properties", "result"}
	for _, tc := range []struct {
		value any
		file  string
		path  []string
	}{
		{events.RenewData{}, "renew.v1.json", nil},
		{events.RenewResult{}, "renew.succeeded.v1.json", result},
		{events.AmendData{}, "amend.v1.json", nil},
		{events.ServiceToAdd{}, "amend.v1.json", []string{"properties", "services_to_add_set", "items"}},
		{events.ServiceToRemove{}, "amend.v1.json", []string{"properties", "services_to_remove_set", "items"}},
		{events.InstalledItem{}, "crmcom.v1.json", []string{"$defs", "installed_items_set", "items"}},
		{events.SubscriptionIdentifier{}, "crmcom.v1.json", []string{"$defs", "subscription_identifier"}},
		{events.AccountIdentifier{}, "crmcom.v1.json", []string{"$defs", "account_identifier"}},
		{events.AccessTokenIdentifier{}, "crmcom.v1.json", []string{"$defs", "access_token_identifier"}},
		{events.ServiceIdentifier{}, "crmcom.v1.json", []string{"$defs", "service_identifier"}},
		{events.ItemIdentifier{}, "crmcom.v1.json", []string{"$defs", "item_identifier"}},
		{events.NamedIdentifier{}, "crmcom.v1.json", []string{"$defs", "unit_identifier"}},
		{events.Distribution{}, "crmcom.v1.json", []string{"$defs", "distribution_set", "items"}},
		{events.Component{}, "crmcom.v1.json", []string{"$defs", "components_set", "items"}},
		{events.SwapData{}, "swap.v1.json", nil},
		{events.ServiceSwap{}, "swap.v1.json", []string{"properties", "services_to_swap_set", "items"}},
		{events.SwapFrom{}, "swap.v1.json", []string{"properties", "services_to_swap_set", "items", "properties", "from_service"}},
		{events.SwapTo{}, "swap.v1.json", []string{"properties", "services_to_swap_set", "items", "properties", "to_service"}},
		{events.ActionResult{}, "amend.succeeded.v1.json", result},
		{events.ActionResult{}, "swap.succeeded.v1.json", result},
		{events.NetflixCreateData{}, "netflix-create.v1.json", nil},
		{events.NetflixAddress{}, "netflix-create.v1.json", []string{"properties", "customer_address"}},
		{events.NetflixEmail{}, "netflix-create.v1.json", []string{"properties", "customer_email"}},
		{events.NetflixPhone{}, "netflix-create.v1.json", []string{"properties", "customer_phone"}},
		{events.NetflixCreateResult{}, "netflix-create.succeeded.v1.json", result},
		{events.NetflixCustomerData{}, "netflix-suspend.v1.json", nil},
		{events.NetflixStateResult{}, "netflix-suspend.succeeded.v1.json", result},
		{events.NetflixChargesData{}, "netflix-acknowledge.v1.json", nil},
		{events.ChargeIdentifier{}, "netflix-acknowledge.v1.json", []string{"properties", "charges_set", "items"}},
		{events.NetflixChargesResult{}, "netflix-acknowledge.succeeded.v1.json", result},
		{events.FailedCharge{}, "netflix-acknowledge.succeeded.v1.json", []string{"properties", "result", "properties", "failed", "items"}},
		{events.NetflixCharge{}, "netflix-charge.pending.v1.json", nil},
		{events.Outcome{}, "outcome.v1.json", nil},
		{events.Ref{}, "outcome.v1.json", []string{"$defs", "command"}},
		{events.Failure{}, "outcome.v1.json", []string{"$defs", "error"}},
		{events.Start{}, "outcome.v1.json", []string{"$defs", "start"}},
		{events.Deferral{}, "outcome.v1.json", []string{"$defs", "deferral"}},
		{events.Spent{}, "outcome.v1.json", []string{"$defs", "spent"}},
		{events.Resolution{}, "outcome.v1.json", []string{"$defs", "resolution"}},
	} {
		typ := reflect.TypeOf(tc.value)
		t.Run(typ.Name(), func(t *testing.T) {
			object := find(t, readJSON(t, tc.file), tc.path...)
			all, always := fields(typ)
			if diff := cmp.Diff(all, mayBeGiven(t, object)); diff != "" {
				t.Errorf("members (-Go +schema):\n%s", diff)
			}
			var others any = false
			if _, open := typ.FieldByName("More"); open {
				others = map[string]any{"$ref": "crmcom.v1.json#/$defs/open_value"}
			}
			if diff := cmp.Diff(others, object["additionalProperties"]); diff != "" {
				t.Errorf("other members (-Go +schema):\n%s", diff)
			}
			required, _ := object["required"].([]any)
			for _, name := range always {
				if !slices.Contains(required, any(name)) {
					t.Errorf("Go always writes %q and the schema does not require it", name)
				}
			}
			if len(required) != len(always) {
				t.Errorf("the schema requires %v and Go always writes %v", required, always)
			}
		})
	}
}

// mayBeGiven lists the members of an object but those that only subrelay sets: they are named to be refused.
func mayBeGiven(t *testing.T, object map[string]any) []string {
	t.Helper()
	properties := find(t, object, "properties")
	return slices.DeleteFunc(members(properties), func(name string) bool {
		return find(t, properties, name)["$ref"] == "crmcom.v1.json#/$defs/set_by_subrelay"
	})
}

// Whoever copies a request of the vendor's pages must learn that these are not his to give.
func TestCommandsNameWhatSubrelaySets(t *testing.T) {
	set := newSet(t)
	for _, spec := range events.Specs() {
		if spec.Kind == events.Renew {
			continue
		}
		for _, name := range []string{"token", "transaction_reference_number", "reference_number", "fields_set"} {
			problems := schemas.Strings(set.Validate(events.CommandType(spec.Kind), map[string]any{name: "x"}))
			if want := "#/" + name + ": must not be given: subrelay sets it"; !slices.Contains(problems, want) {
				t.Errorf("%s with %s: %q", spec.Kind, name, problems)
			}
		}
	}
}

func TestSchemaHasTheBoundsOfTheCode(t *testing.T) {
	for name, want := range map[string]int{"months": events.MaxMonths, "days": events.MaxDays} {
		for _, props := range []map[string]any{
			find(t, readJSON(t, "renew.v1.json"), "properties", name),
			find(t, readJSON(t, "renew.succeeded.v1.json"), "properties", "result", "properties", name),
		} {
			if got, _ := props["maximum"].(json.Number).Int64(); int(got) != want {
				t.Errorf("%s: the schema's maximum is %d, the code's %d", name, got, want)
			}
		}
	}
	create := find(t, readJSON(t, "netflix-create.v1.json"), "properties", "validity_duration")
	if got, _ := create["maximum"].(json.Number).Int64(); got != events.MaxValidity {
		t.Errorf("validity_duration: the schema's maximum is %d, the code's %d", got, events.MaxValidity)
	}
	for _, kind := range []events.Kind{events.NetflixAcknowledge, events.NetflixAccept, events.NetflixDecline} {
		set := find(t, readJSON(t, string(kind)+".v1.json"), "properties", "charges_set")
		if got, _ := set["maxItems"].(json.Number).Int64(); got != events.MaxCharges {
			t.Errorf("%s: the schema takes %d charges, the code %d", kind, got, events.MaxCharges)
		}
	}
	var want []any
	for _, s := range events.Statuses() {
		want = append(want, string(s))
	}
	if diff := cmp.Diff(want, find(t, readJSON(t, "outcome.v1.json"), "properties", "status")["enum"]); diff != "" {
		t.Errorf("statuses (-Go +schema):\n%s", diff)
	}
}

// values makes an empty Go value for the data of each kind of command, and for its result.
var values = map[events.Kind]struct{ data, result func() any }{
	events.Renew:              {empty[events.RenewData], empty[events.RenewResult]},
	events.Amend:              {empty[events.AmendData], empty[events.ActionResult]},
	events.Swap:               {empty[events.SwapData], empty[events.ActionResult]},
	events.NetflixCreate:      {empty[events.NetflixCreateData], empty[events.NetflixCreateResult]},
	events.NetflixSuspend:     {empty[events.NetflixCustomerData], empty[events.NetflixStateResult]},
	events.NetflixUnsuspend:   {empty[events.NetflixCustomerData], empty[events.NetflixStateResult]},
	events.NetflixCancel:      {empty[events.NetflixCustomerData], empty[events.NetflixStateResult]},
	events.NetflixAcknowledge: {empty[events.NetflixChargesData], empty[events.NetflixChargesResult]},
	events.NetflixAccept:      {empty[events.NetflixChargesData], empty[events.NetflixChargesResult]},
	events.NetflixDecline:     {empty[events.NetflixChargesData], empty[events.NetflixChargesResult]},
}

func empty[T any]() any { return new(T) }

// roundTrip fails unless data decode strictly into value and come out again with the same members, but for those that
// say nothing.
func roundTrip(t *testing.T, value any, data []byte) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	want := decode(t, data).(map[string]any)
	for name, member := range want {
		list, isList := member.([]any)
		if (name == "months" || name == "days") && member == json.Number("0") || isList && len(list) == 0 {
			delete(want, name)
		}
	}
	if diff := cmp.Diff(any(want), decode(t, again)); diff != "" {
		t.Errorf("(-sample +Go):\n%s", diff)
	}
}

func TestValidSamplesRoundTripThroughGo(t *testing.T) {
	for name, s := range samples(t, "valid") {
		t.Run(name, func(t *testing.T) {
			if kind, isCommand := events.KindOfType(s.Type); isCommand {
				roundTrip(t, values[kind].data(), s.Data)
				return
			}
			if _, isCharge := events.StatusOfChargeType(s.Type); isCharge {
				roundTrip(t, &events.NetflixCharge{}, s.Data)
				return
			}
			var o events.Outcome
			roundTrip(t, &o, s.Data)
			if o.Result != nil {
				roundTrip(t, values[o.Command.Kind].result(), o.Result)
			}
		})
	}
}

// A valid sample of a command must be one that its reader takes.
func TestValidSamplesAreRead(t *testing.T) {
	for name, s := range samples(t, "valid") {
		if kind, isCommand := events.KindOfType(s.Type); isCommand {
			if err := readers[kind]("C-10042", s.Data); err != nil && events.AsError(err).Code != events.CodeKeyMismatch {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// fill sets every field of a struct that is still zero, so that a field added later is checked too.
func fill(v reflect.Value) {
	defer settle(v)
	for i := range v.NumField() {
		f := v.Field(i)
		if _, isTime := f.Interface().(time.Time); f.Kind() == reflect.Struct && !isTime {
			fill(f)
			continue
		}
		if !f.IsZero() {
			continue
		}
		switch p := f.Addr().Interface().(type) {
		case *string:
			*p = "x"
		case *int:
			*p = 1
		case *int64:
			*p = 1
		case *uint64:
			*p = 1
		case **bool:
			*p = new(bool)
		case **time.Time:
			now := time.Date(2026, 11, 22, 1, 2, 3, 456789, time.FixedZone("", 3600))
			*p = &now
		case *time.Time:
			*p = time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
		case *json.RawMessage:
			*p = json.RawMessage(`{"months":1}`)
		case *[]string:
			*p = []string{"#/months: must be at least 0"}
		case **string:
			*p = new("x")
		case **int:
			*p = new(1)
		case **float64:
			*p = new(-1.5)
		case *json.Number:
			*p = "9.99"
		case *events.OpenIdentifier:
			*p = events.OpenIdentifier{"code": "x"}
		case *events.OpenMembers:
			*p = events.OpenMembers{"floor": json.RawMessage("-1.50"), "city": json.RawMessage(`"x"`), "Type": json.RawMessage("true")}
		default:
			fillKind(f)
		}
	}
}

// settle makes of a struct with every field set one that keeps the rules of its schema: one of each group, known words.
func settle(v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *events.SubscriptionIdentifier:
		p.ID = ""
	case *events.AccountIdentifier:
		*p = events.AccountIdentifier{Name: "x"}
	case *events.ServiceIdentifier:
		p.ID, p.Code = "", ""
	case *events.ItemIdentifier:
		p.ID, p.AlternativeCode = "", ""
	case *events.NamedIdentifier:
		*p = events.NamedIdentifier{Name: "x"}
	case *events.ActionData:
		p.AccountsReceivableIdentifier = nil
	case *events.ServiceToAdd:
		p.PeriodBilledInAdvanceUOT = "WEEKS"
	case *events.SwapData:
		p.BusinessClassificationCode = "UPGRADE_SERVICE"
	case *events.SwapFrom:
		p.SubscriptionServiceID = ""
	case *events.SwapTo:
		p.PeriodBilledInAdvanceUOT = "DAYS"
	case *events.NetflixCreateData:
		p.Channel, p.CustomerAddress.Type, p.CustomerEmail.Type, p.CustomerPhone.Type = "OTHER", "POBOX", "CUSTOM5", "FAX"
		p.CustomerEmail.EmailAddress = "x@y"
	}
}

func fillKind(f reflect.Value) {
	switch f.Kind() {
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
		fill(f.Elem())
	case reflect.Slice:
		f.Set(reflect.MakeSlice(f.Type(), 2, 2))
		fill(f.Index(0))
		fill(f.Index(1))
	case reflect.Bool:
		f.SetBool(true)
	case reflect.String:
		f.SetString("x")
	default:
		panic("no value for a field of type " + f.Type().String())
	}
}

func TestFullGoValuesAreValid(t *testing.T) {
	set := newSet(t)
	t.Run("RenewData", func(t *testing.T) {
		for _, length := range []struct{ months, days int }{{events.MaxMonths, 0}, {0, events.MaxDays}, {1, 0}, {0, 1}} {
			var data events.RenewData
			fill(reflect.ValueOf(&data).Elem())
			data.Months, data.Days = length.months, length.days
			checkGo(t, set, events.CommandType(events.Renew), data)
		}
	})
	for _, spec := range events.Specs() {
		if typ := events.CommandType(spec.Kind); spec.Kind != events.Renew {
			t.Run(typ, func(t *testing.T) { checkGo(t, set, typ, full(values[spec.Kind].data())) })
		}
		for _, status := range events.Statuses() {
			typ := events.OutcomeType(spec.Kind, status)
			t.Run(typ, func(t *testing.T) { checkGo(t, set, typ, fullOutcome(t, spec, status)) })
		}
	}
	for _, state := range events.ChargeStates() {
		charge := full(&events.NetflixCharge{}).(*events.NetflixCharge)
		charge.ChargeStatus = state
		t.Run(events.ChargeType(state), func(t *testing.T) { checkGo(t, set, events.ChargeType(state), charge) })
	}
}

// full is a Go value, given by pointer, with every field set.
func full(value any) any {
	fill(reflect.ValueOf(value).Elem())
	return value
}

// fullOutcome is an outcome with every member that its status may have.
func fullOutcome(t *testing.T, spec events.Spec, status events.Status) events.Outcome {
	t.Helper()
	o := events.Outcome{Status: status, Upstream: spec.Upstream}
	o.Command.Kind = spec.Kind
	o.Command.CID = events.CID("s", "1", "k")
	fill(reflect.ValueOf(&o).Elem())
	o.Error.Code = events.CodeInternal
	o.Result, o.IfApplied = nil, nil
	if status == events.Succeeded || status == events.InDoubt {
		result := full(values[spec.Kind].result())
		reflect.ValueOf(result).Elem().FieldByName("SettledBy").SetString("operator")
		raw, err := json.Marshal(result)
		if err != nil {
			t.Fatal(err)
		}
		if o.Result = raw; status == events.InDoubt {
			o.Result, o.IfApplied = nil, raw
		}
	}
	if status != events.Started {
		o.Start = nil
	}
	if status != events.Deferred {
		o.Deferral = nil
	}
	if status != events.Succeeded && status != events.Failed {
		o.Resolution = nil
	}
	if status == events.Started || status == events.Succeeded {
		o.Error = nil
	}
	return o
}

func checkGo(t *testing.T, set *schemas.Set, typ string, value any) {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Validate(typ, decode(t, raw)); got != nil {
		t.Errorf("%s\n%v", raw, got)
	}
}
