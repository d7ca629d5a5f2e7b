package main

import (
	"cmp"
	"time"

	"github.com/spf13/pflag"

	"subrelay/events"
)

// actionFlags are the data that amend and swap have in common.
type actionFlags struct {
	subscription, account                                       string
	actionType, subActionType, classification, card, user, unit string
	performedOn, billingEffective, billableFrom, scheduled      string
	udf                                                         []string
}

func (f *actionFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.subscription, "subscription", "", "the subscription, by its number or as id=ID; the key of the command")
	flags.StringVar(&f.account, "account", "", "in place of --subscription: the account that has just one, as number=, id= or name=")
	flags.StringVar(&f.scheduled, "scheduled", "", "only schedule it, for then (RFC 3339)")
	flags.StringVar(&f.performedOn, "performed-on", "", "when it was performed (RFC 3339)")
	flags.StringVar(&f.billingEffective, "billing-effective", "", "when billing is to bill the services (RFC 3339)")
	flags.StringVar(&f.billableFrom, "billable-from", "", "from when on the services are to be billed (RFC 3339)")
	flags.StringVar(&f.actionType, "action-type", "", "type of the action, as name=, id= or alternative_code=")
	flags.StringVar(&f.subActionType, "sub-action-type", "", "its sub type, likewise")
	flags.StringVar(&f.classification, "classification", "", "classification of the action, as MEMBER=VALUE")
	flags.StringVar(&f.card, "card", "", "payment gateway card, as MEMBER=VALUE")
	flags.StringVar(&f.user, "user", "", "who performed it, as MEMBER=VALUE")
	flags.StringVar(&f.unit, "unit", "", "the unit where it was performed, as name=, id=, alternative_code= or code=")
	flags.StringArrayVar(&f.udf, "udf", nil, "user defined `field` of the action, such as string_1=x, float_1=9.99 or date_1=2026-12-01T00:00:00Z; repeatable")
}

// action reads the flags.
func (f *actionFlags) action() (d events.ActionData, err error) {
	switch {
	case f.subscription == "" && f.account == "":
		return d, usagef("which subscription? Name it with --subscription NUMBER, or --subscription id=ID")
	case f.subscription != "" && f.account != "":
		return d, usagef("--subscription and --account exclude each other")
	case f.subscription != "":
		d.SubscriptionIdentifier, err = subscriptionFlag("subscription", f.subscription)
	default:
		d.AccountsReceivableIdentifier, err = accountFlag("account", f.account)
	}
	if err != nil {
		return d, err
	}
	for _, date := range []struct {
		flag, text string
		into       **time.Time
	}{
		{"scheduled", f.scheduled, &d.ScheduledDate}, {"performed-on", f.performedOn, &d.PerformedOn},
		{"billing-effective", f.billingEffective, &d.BillingEffectiveDate}, {"billable-from", f.billableFrom, &d.BillablePeriodStartDate},
	} {
		if *date.into, err = dateFlag(date.flag, date.text); err != nil {
			return d, err
		}
	}
	for _, named := range []struct {
		flag, text string
		into       **events.NamedIdentifier
	}{
		{"action-type", f.actionType, &d.ActionTypeIdentifier}, {"sub-action-type", f.subActionType, &d.SubActionTypeIdentifier},
		{"unit", f.unit, &d.PerformedByUnitIdentifier},
	} {
		if *named.into, err = namedFlag(named.flag, named.text); err != nil {
			return d, err
		}
	}
	for _, open := range []struct {
		flag, text string
		into       *events.OpenIdentifier
	}{
		{"classification", f.classification, &d.ClassificationIdentifier}, {"card", f.card, &d.PaymentGatewayCardIdentifier},
		{"user", f.user, &d.PerformedByUserIdentifier},
	} {
		if *open.into, err = openFlag(open.flag, open.text); err != nil {
			return d, err
		}
	}
	d.UDF, err = udfFlag("udf", f.udf)
	return d, err
}

// actionKey is the key of a command on a subscription: the number or id of the subscription, or of the account in its
// place. It is "" where only a name or the customer's credentials are given.
func actionKey(d *events.ActionData) string {
	if s := d.SubscriptionIdentifier; s != nil {
		return cmp.Or(s.Number, s.ID)
	}
	if a := d.AccountsReceivableIdentifier; a != nil {
		return cmp.Or(a.Number, a.ID)
	}
	return ""
}

// actionKeyOf is actionKey for data given as JSON.
func actionKeyOf(data map[string]any) string {
	for _, identifier := range []string{"subscription_identifier", "accounts_receivable_identifier"} {
		if key := cmp.Or(textAt(data, identifier, "number"), textAt(data, identifier, "id")); key != "" {
			return key
		}
	}
	return ""
}

// amendFlags are the data of an amendment.
type amendFlags struct {
	actionFlags
	add, remove, addItems, removeItems []string
}

func amendCommand() kindCommand {
	var f amendFlags
	return kindCommand{
		kind:  events.Amend,
		short: "Add services and items to a CRM.COM subscription, and remove them",
		long: `Add services and installed items to a subscription of CRM.COM, and remove them, in one action. A service is named by
code=, id= or alternative_code=, and a word alone is its code; an item by serial=, id= or alternative_code=, and a word
alone is its serial number. Distributors, periods and components are given by --data, or by 'publish --file'.`,
		example: `  subrelay publish amend --subscription S0000012345 --add code=SPORTS --remove code=BASIC --wait
  subrelay publish amend --subscription id=0A1B2C --add-item serial=STB-0815 --performed-on 2026-11-02T09:30:00Z
  subrelay publish amend --subscription S0000012345 --add SPORTS --scheduled 2026-12-01T00:00:00Z --udf string_1=promo
  subrelay publish amend --data amend.json --id order-0815 --source billing --wait`,
		register: func(flags *pflag.FlagSet) {
			flags.StringArrayVar(&f.add, "add", nil, "`service` to add; repeatable")
			flags.StringArrayVar(&f.remove, "remove", nil, "`service` to remove; repeatable")
			flags.StringArrayVar(&f.addItems, "add-item", nil, "installed `item` to add; repeatable")
			flags.StringArrayVar(&f.removeItems, "remove-item", nil, "installed `item` to remove; repeatable")
			f.register(flags)
		},
		data:    f.data,
		keyOf:   actionKeyOf,
		freeKey: true,
	}
}

func (f *amendFlags) data() (string, any, error) {
	action, err := f.action()
	if err != nil {
		return "", nil, err
	}
	d := events.AmendData{ActionData: action}
	for _, text := range f.add {
		id, err := serviceFlag("add", text)
		if err != nil {
			return "", nil, err
		}
		d.ServicesToAddSet = append(d.ServicesToAddSet, events.ServiceToAdd{ServiceIdentifier: id})
	}
	for _, text := range f.remove {
		id, err := serviceFlag("remove", text)
		if err != nil {
			return "", nil, err
		}
		d.ServicesToRemoveSet = append(d.ServicesToRemoveSet, events.ServiceToRemove{ServiceIdentifier: id})
	}
	for _, items := range []struct {
		flag  string
		texts []string
		into  *[]events.InstalledItem
	}{{"add-item", f.addItems, &d.InstalledItemsToAddSet}, {"remove-item", f.removeItems, &d.InstalledItemsToRemoveSet}} {
		for _, text := range items.texts {
			id, err := itemFlag(items.flag, text)
			if err != nil {
				return "", nil, err
			}
			*items.into = append(*items.into, events.InstalledItem{InstalledItemIdentifier: id})
		}
	}
	if len(f.add)+len(f.remove)+len(f.addItems)+len(f.removeItems) == 0 {
		return "", nil, usagef("what is to change? Give --add, --remove, --add-item or --remove-item")
	}
	return actionKey(&d.ActionData), d, nil
}

// swapFlags are the data of a swap.
type swapFlags struct {
	actionFlags
	from, to []string
	business string
}

func swapCommand() kindCommand {
	var f swapFlags
	return kindCommand{
		kind:  events.Swap,
		short: "Put services in the place of others on a CRM.COM subscription",
		long: `Put services in the place of others on a subscription of CRM.COM. The first --to replaces the first --from, and so on. A
service is named by code=, id= or alternative_code= of its product, and a word alone is its code; --from also takes
service=ID, the subscription_service_id of one instance. Periods, distributors, components and user defined fields of the
new service are given by --data, or by 'publish --file'.`,
		example: `  subrelay publish swap --subscription S0000012345 --from code=INTERNET_100 --to code=INTERNET_200 --wait
  subrelay publish swap --subscription S0000012345 --from service=9F01 --to INTERNET_200 --performed-on 2026-11-02T09:30:00Z
  subrelay publish swap --subscription S0000012345 --from TV_S --to TV_L --from NET_S --to NET_L --scheduled 2026-12-01T00:00:00Z
  generate-swap | subrelay publish swap --data - --wait`,
		register: func(flags *pflag.FlagSet) {
			flags.StringArrayVar(&f.from, "from", nil, "`service` to take away; repeatable, each with a --to")
			flags.StringArrayVar(&f.to, "to", nil, "`service` to put in its place")
			flags.StringVar(&f.business, "business-classification", "", joined(businessClassifications)+
				" (default by the services' tiers); only where the worker has crmcom.swap.carrier: method")
			f.register(flags)
		},
		data:    f.data,
		keyOf:   actionKeyOf,
		freeKey: true,
		values:  map[string][]string{"business-classification": businessClassifications},
	}
}

var businessClassifications = []string{"UPGRADE_SERVICE", "DOWNGRADE_SERVICE", "SWITCH_SERVICE"}

func (f *swapFlags) data() (string, any, error) {
	action, err := f.action()
	if err != nil {
		return "", nil, err
	}
	if len(f.from) == 0 || len(f.from) != len(f.to) {
		return "", nil, usagef("what is to be swapped? Each --from needs its --to, and there are %d and %d", len(f.from), len(f.to))
	}
	d := events.SwapData{ActionData: action, BusinessClassificationCode: f.business}
	for i := range f.from {
		var swap events.ServiceSwap
		if swap.FromService, err = swapFromFlag("from", f.from[i]); err != nil {
			return "", nil, err
		}
		if swap.ToService.ServiceIdentifier, err = serviceFlag("to", f.to[i]); err != nil {
			return "", nil, err
		}
		d.ServicesToSwapSet = append(d.ServicesToSwapSet, swap)
	}
	return actionKey(&d.ActionData), d, nil
}
