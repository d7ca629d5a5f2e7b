package main

import (
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"subrelay/events"
)

// member is one member of an identifier, and the name by which a flag gives it.
type member struct {
	name string
	into *string
}

// identify reads NAME=VALUE into the member of that name; text without "=" goes to the first where bare says so. Errors
// repeat nothing of the text, which may be personal.
func identify(flag, text string, bare bool, members ...member) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok && bare {
		name, value = members[0].name, text
	}
	var names []string
	for _, m := range members {
		if m.name == name && value != "" {
			*m.into = value
			return nil
		}
		names = append(names, m.name+"=…")
	}
	return usagef("--%s must be %s", flag, strings.Join(names, " or "))
}

func subscriptionFlag(flag, text string) (*events.SubscriptionIdentifier, error) {
	var id events.SubscriptionIdentifier
	return &id, identify(flag, text, true, member{"number", &id.Number}, member{"id", &id.ID})
}

func accountFlag(flag, text string) (*events.AccountIdentifier, error) {
	var id events.AccountIdentifier
	return &id, identify(flag, text, false, member{"number", &id.Number}, member{"id", &id.ID}, member{"name", &id.Name})
}

func serviceFlag(flag, text string) (id events.ServiceIdentifier, err error) {
	err = identify(flag, text, true, serviceMembers(&id)...)
	return id, err
}

func serviceMembers(id *events.ServiceIdentifier) []member {
	return []member{{"code", &id.Code}, {"id", &id.ID}, {"alternative_code", &id.AlternativeCode}}
}

// swapFromFlag reads what a swap takes away: a product, or by service= the instance on the subscription.
func swapFromFlag(flag, text string) (events.SwapFrom, error) {
	var instance string
	var product events.ServiceIdentifier
	if err := identify(flag, text, true, append(serviceMembers(&product), member{"service", &instance})...); err != nil {
		return events.SwapFrom{}, err
	}
	if instance != "" {
		return events.SwapFrom{SubscriptionServiceID: instance}, nil
	}
	return events.SwapFrom{ServiceIdentifier: &product}, nil
}

func itemFlag(flag, text string) (id events.ItemIdentifier, err error) {
	err = identify(flag, text, true, member{"serial", &id.SerialNumber}, member{"id", &id.ID}, member{"alternative_code", &id.AlternativeCode})
	return id, err
}

// namedFlag reads the identifier of an action type or a unit; nil for no text.
func namedFlag(flag, text string) (*events.NamedIdentifier, error) {
	if text == "" {
		return nil, nil
	}
	var id events.NamedIdentifier
	return &id, identify(flag, text, false,
		member{"name", &id.Name}, member{"id", &id.ID}, member{"alternative_code", &id.AlternativeCode}, member{"code", &id.Code})
}

// openFlag reads an identifier whose members nobody lists; nil for no text.
func openFlag(flag, text string) (events.OpenIdentifier, error) {
	if text == "" {
		return nil, nil
	}
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" || value == "" {
		return nil, usagef("--%s must be MEMBER=VALUE, such as id=…", flag)
	}
	return events.OpenIdentifier{name: value}, nil
}

// dateFlag reads a date; nil for no text.
func dateFlag(flag, text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, usagef("--%s must be as RFC 3339 has it, such as %s", flag, time.Now().UTC().Format(time.RFC3339))
	}
	return &t, nil
}

var udfName = regexp.MustCompile(`^(string_[1-8]|float_[1-4]|date_[1-4])$`)

// udfFlag reads user defined fields, each as NAME=VALUE.
func udfFlag(flag string, texts []string) (udf events.UDF, err error) {
	fields := map[string]any{}
	for _, text := range texts {
		name, value, _ := strings.Cut(text, "=")
		if !udfName.MatchString(name) {
			return udf, usagef("--%s must be string_1=… to string_8=…, float_1=… to float_4=…, or date_1=… to date_4=…", flag)
		}
		if _, ok := fields["udf_"+name]; ok {
			return udf, usagef("--%s names %s twice", flag, name)
		}
		switch {
		case strings.HasPrefix(name, "float"):
			n, err := strconv.ParseFloat(value, 64)
			if err != nil || math.IsNaN(n) || math.IsInf(n, 0) { // JSON has neither
				return udf, usagef("--%s %s must be a number such as 1.5: not infinite, not NaN", flag, name)
			}
			fields["udf_"+name] = n
		case strings.HasPrefix(name, "date"):
			t, err := dateFlag(flag+" "+name, value)
			if err != nil {
				return udf, err
			}
			fields["udf_"+name] = t
		default:
			fields["udf_"+name] = value
		}
	}
	raw, err := json.Marshal(fields)
	if err == nil {
		err = json.Unmarshal(raw, &udf)
	}
	return udf, err
}
