package crmcom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"subrelay/events"
)

// release is a release of CRM.COM; releases compare by <. Zero stands for "from the first" or "not deprecated".
type release int

// of is the release R<major>.<minor>.<patch>.
func of(major, minor, patch int) release { return release(major*1_000_000 + minor*1000 + patch) }

var (
	oldest = of(13, 0, 0) // POST subscriptions/amend came with it
	newest = of(18, 0, 0) // the last one that the reference of the API knows

	releasePattern = regexp.MustCompile(`^R(\d{1,3})\.(\d{1,3})\.(\d{1,3})$`)
)

func (r release) String() string { return fmt.Sprintf("R%d.%d.%d", r/1_000_000, r/1000%1000, r%1000) }

// parseRelease reads a release such as R14.1.0. Its errors go on from the name of the setting.
func parseRelease(text string) (release, error) {
	if text == "" {
		return 0, fmt.Errorf("is missing: which release is installed, from %s to %s?", oldest, newest)
	}
	m := releasePattern.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is no release such as R14.1.0", text)
	}
	n := [3]int{}
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1]) // at most three digits
	}
	r := of(n[0], n[1], n[2])
	if r < oldest || r > newest {
		return 0, fmt.Errorf("%q is not from %s to %s; name the nearest", text, oldest, newest)
	}
	return r, nil
}

// lifetime says which releases know a parameter: from since on; it is deprecated from the release deprecated on.
type lifetime struct{ since, deprecated release }

// never stands for since where no release documents the parameter.
const never release = 1 << 40

// Parameters of more than one place.
const (
	udfAny        = "udf_*"
	inDistributor = ".provisioning_distributor_identifier.code"
)

// parameters are those that not every release knows, by method and path. Array elements have the path of their array. A
// path that is not here came with its method, or its release is not documented (CRM.COM, space V4Development, the
// methods' pages; space V4, amend_subscription_service_*_parameter).
var parameters = map[string]map[string]lifetime{
	"amend": actionParameters(map[string]lifetime{
		"services_to_add_set.period_billed_in_advance":                                   {since: of(14, 0, 0), deprecated: of(15, 0, 0)},
		"services_to_add_set.period_billed_in_advance_uot":                               {since: of(14, 0, 0), deprecated: of(15, 0, 0)},
		"services_to_add_set.services_distribution_set" + inDistributor:                  {since: never},
		"services_to_remove_set.services_distribution_set" + inDistributor:               {since: never},
		"installed_items_to_add_set.installed_items_distribution_set" + inDistributor:    {since: never},
		"installed_items_to_remove_set.installed_items_distribution_set" + inDistributor: {since: never},
	}),
	"swap": actionParameters(map[string]lifetime{
		"services_to_swap_set.to_service.period_billed_in_advance":                  {since: of(14, 0, 0), deprecated: of(15, 0, 0)},
		"services_to_swap_set.to_service.period_billed_in_advance_uot":              {since: of(14, 0, 0), deprecated: of(15, 0, 0)},
		"services_to_swap_set.to_service." + udfAny:                                 {since: of(14, 3, 0)},
		"services_to_swap_set.to_service.services_distribution_set":                 {deprecated: of(15, 0, 0)},
		"services_to_swap_set.to_service.services_distribution_set" + inDistributor: {since: never},
	}),
	"netflix-create": {
		"customer_address":            {since: of(14, 2, 0)},
		"customer_address.is_primary": {since: of(16, 1, 0)},
		"customer_phone.is_primary":   {since: of(16, 1, 0)},
	},
}

// actionParameters adds what every action on a subscription takes.
func actionParameters(more map[string]lifetime) map[string]lifetime {
	maps.Copy(more, map[string]lifetime{
		"accounts_receivable_identifier.access_token_identifier": {deprecated: of(18, 0, 0)},
		"action_type_identifier":                                 {deprecated: of(15, 0, 0)},
		"action_type_identifier.code":                            {since: never},
		"sub_action_type_identifier":                             {deprecated: of(15, 0, 0)},
		"sub_action_type_identifier.code":                        {since: never},
		"classification_identifier":                              {since: of(18, 0, 0)},
		"performed_by_unit_identifier":                           {since: of(14, 0, 0)},
		"performed_by_unit_identifier.code":                      {since: of(18, 0, 0)},
		"performed_by_unit_identifier.alternative_code":          {deprecated: of(18, 0, 0)},
	})
	return more
}

// inTable reports whether there is a release that refuses or deprecates the parameter, or the method, of this path.
func inTable(path string) bool {
	for _, method := range chargeMethods {
		if method.path == path && method.since != 0 {
			return true
		}
	}
	for _, table := range parameters {
		if row, _ := rowOf(table, path); row != "" {
			return true
		}
	}
	return false
}

// rules refuses what the installed release does not know.
type rules struct {
	installed release
	known     []string // whatever the release
	warn      func(message string)
	warned    sync.Map // of paths

	// suspects are, by method, the members' names of each parameter that the installed release does not know or would
	// rather not see. Data without them need no closer look.
	suspects map[string][][]string
}

func newRules(installed release, known []string, warn func(message string)) *rules {
	r := &rules{installed: installed, known: known, warn: warn, suspects: make(map[string][][]string)}
	for method, table := range parameters {
		for path, life := range table {
			if installed >= life.since && (life.deprecated == 0 || installed < life.deprecated) {
				continue
			}
			var names []string
			for _, name := range strings.Split(path, ".") {
				names = append(names, `"`+strings.TrimSuffix(name, "*"))
			}
			r.suspects[method] = append(r.suspects[method], names)
		}
	}
	return r
}

// suspect reports whether all members of a suspect occur in data, wherever they stand.
func (r *rules) suspect(method string, data []byte) bool {
	return slices.ContainsFunc(r.suspects[method], func(names []string) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !bytes.Contains(data, []byte(name)) })
	})
}

// check refuses data that hold a parameter which the installed release does not know, and warns once of each deprecated
// one. method names the table.
func (r *rules) check(method string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return refused(events.CodeRequestNotPossible, "the command cannot be written as JSON")
	}
	if !r.suspect(method, raw) {
		return nil
	}
	used, err := pathsIn(raw)
	if err != nil {
		return refused(events.CodeRequestNotPossible, "the command cannot be read as JSON")
	}
	var missing []string
	for _, path := range used {
		row, life := rowOf(parameters[method], path)
		switch {
		case row == "" || slices.Contains(r.known, row) || slices.Contains(r.known, path):
		case life.since == never:
			missing = append(missing, path+" (which no release documents)")
		case r.installed < life.since:
			missing = append(missing, fmt.Sprintf("%s (from %s)", path, life.since))
		case life.deprecated != 0 && r.installed >= life.deprecated:
			r.deprecated(path, life)
		}
	}
	if len(missing) > 0 {
		return refused(events.CodeRelease, fmt.Sprintf("the installed release %s does not know %s; see crmcom.release", r.installed, strings.Join(missing, ", ")))
	}
	return nil
}

func (r *rules) deprecated(path string, life lifetime) {
	if _, told := r.warned.LoadOrStore(path, true); !told {
		r.warn(fmt.Sprintf("commands use %s, which is deprecated from %s; %s is installed", path, life.deprecated, r.installed))
	}
}

// rowOf finds the row of a table that a path falls under.
func rowOf(table map[string]lifetime, path string) (string, lifetime) {
	if life, ok := table[path]; ok {
		return path, life
	}
	if i := strings.LastIndex(path, "udf_"); i >= 0 {
		if life, ok := table[path[:i]+udfAny]; ok {
			return path[:i] + udfAny, life
		}
	}
	return "", lifetime{}
}

// pathsIn lists the paths of all members of a JSON object, each once and in order.
func pathsIn(raw []byte) ([]string, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return nil, err
	}
	paths := make(map[string]bool)
	collect(paths, "", value)
	return slices.Sorted(maps.Keys(paths)), nil
}

func collect(paths map[string]bool, at string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			path := name
			if at != "" {
				path = at + "." + name
			}
			paths[path] = true
			collect(paths, path, inner)
		}
	case []any:
		for _, inner := range v {
			collect(paths, at, inner)
		}
	}
}

// isParameter reports whether name is a parameter of an amendment.
func isParameter(name string) bool {
	return slices.Contains([]string{
		"token", "subscription_identifier", "accounts_receivable_identifier", "action_type_identifier",
		"sub_action_type_identifier", "classification_identifier", "payment_gateway_card_identifier",
		"transaction_reference_number", "performed_by_user_identifier", "performed_by_unit_identifier", "performed_on",
		"billing_effective_date", "billable_period_start_date", "scheduled_date", "services_to_add_set",
		"services_to_remove_set", "installed_items_to_add_set", "installed_items_to_remove_set", "fields_set",
		"business_classification_code",
	}, name) || strings.HasPrefix(name, "udf_")
}
