package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"subrelay/events"
)

// netflixCustomer is the member that names the customer of a Netflix command.
const netflixCustomer = "billing_system_customer_identifier"

func customerFlag(flags *pflag.FlagSet, customer *string, usage string) {
	flags.StringVar(customer, "customer", "", usage)
}

var errNoCustomer = usagef("whose subscription? Name the customer with --customer, as billing names it")

// createFlags are the data of a creation.
type createFlags struct {
	customer, promotion, channel                  string
	validity                                      time.Duration
	firstName, lastName, email, phone, phoneType  string
	addressType, street, streetNumber, postalCode string
}

var netflixChannels = []string{"WEB", "STORE", "MOBILE", "BROADBAND", "OTHER"}

func netflixCreateCommand() kindCommand {
	var f createFlags
	return kindCommand{
		kind:  events.NetflixCreate,
		short: "Create a Netflix subscriber",
		long: `Create a Netflix subscriber. The result holds the Netflix token for the registration page; here it is shown only with
--reveal. What is given of the customer goes to the upstream and nowhere else; with --data - it does not stand in the
shell's history either.`,
		example: `  subrelay publish netflix-create --customer cust-77 --channel WEB --validity 1h --promotion 14 --wait --reveal
  subrelay publish netflix-create --customer cust-77 --first-name Anna --last-name Example --email anna@mail.example
  generate-subscriber | subrelay publish netflix-create --data - --id order-0815 --source billing --wait -o json`,
		register: f.register,
		data:     f.data,
		keyOf:    func(data map[string]any) string { return textAt(data, netflixCustomer) },
		values:   map[string][]string{"channel": netflixChannels},
	}
}

func (f *createFlags) register(flags *pflag.FlagSet) {
	customerFlag(flags, &f.customer, "the customer's id in billing, the key of the command")
	flags.StringVar(&f.promotion, "promotion", "", "code of a promotion")
	flags.StringVar(&f.channel, "channel", "", joined(netflixChannels))
	flags.DurationVar(&f.validity, "validity", 0, "how long the token is valid, 24h at most (default the upstream's)")
	flags.StringVar(&f.firstName, "first-name", "", "the customer's first name")
	flags.StringVar(&f.lastName, "last-name", "", "the customer's last name")
	flags.StringVar(&f.email, "email", "", "the customer's e-mail address")
	flags.StringVar(&f.phone, "phone", "", "the customer's phone number")
	flags.StringVar(&f.phoneType, "phone-type", "", "with --phone: LANDLINE, MOBILE, FAX, or CUSTOM1 to CUSTOM5 (default MOBILE)")
	flags.StringVar(&f.street, "street", "", "the customer's street")
	flags.StringVar(&f.streetNumber, "street-number", "", "the number in it")
	flags.StringVar(&f.postalCode, "postal-code", "", "the customer's postal code")
	flags.StringVar(&f.addressType, "address-type", "", "with an address: HOME, BUSINESS, POBOX, or CUSTOM1 to CUSTOM5 (default HOME)")
}

func (f *createFlags) data() (string, any, error) {
	if f.customer == "" {
		return "", nil, errNoCustomer
	}
	d := events.NetflixCreateData{
		BillingSystemCustomerIdentifier: f.customer, PromotionCode: f.promotion, Channel: f.channel,
		CustomerFirstName: f.firstName, CustomerLastName: f.lastName,
	}
	if f.validity != 0 {
		seconds := int(f.validity / time.Second)
		if f.validity%time.Second != 0 || seconds < 1 || seconds > events.MaxValidity {
			return "", nil, usagef("--validity is %s, and must be whole seconds, from 1s to %s", f.validity, events.MaxValidity*time.Second)
		}
		d.ValidityDuration = &seconds
	}
	if f.email != "" {
		d.CustomerEmail = &events.NetflixEmail{EmailAddress: f.email}
	}
	switch {
	case f.phone != "":
		d.CustomerPhone = &events.NetflixPhone{Type: cmp.Or(f.phoneType, "MOBILE"), Number: f.phone}
	case f.phoneType != "":
		return "", nil, usagef("--phone-type is of which phone? Give its number with --phone")
	}
	switch {
	case f.street != "" || f.streetNumber != "" || f.postalCode != "":
		d.CustomerAddress = &events.NetflixAddress{
			Type: cmp.Or(f.addressType, "HOME"), StreetName: f.street, StreetNumber: f.streetNumber, PostalCode: f.postalCode,
		}
	case f.addressType != "":
		return "", nil, usagef("--address-type is of which address? Give it with --street, --street-number or --postal-code")
	}
	return f.customer, d, nil
}

// netflixStateCommand is the subcommand of one of the kinds that take a customer alone.
func netflixStateCommand(kind events.Kind, short, long string) kindCommand {
	var customer string
	return kindCommand{
		kind:  kind,
		short: short,
		long:  long,
		example: fmt.Sprintf(`  subrelay publish %[1]s --customer cust-77 --wait
  subrelay publish %[1]s --customer cust-77 --id case-0815 --source billing --expires 1h`, kind),
		register: func(flags *pflag.FlagSet) {
			customerFlag(flags, &customer, "the customer's id in billing, the key of the command")
		},
		data: func() (string, any, error) {
			if customer == "" {
				return "", nil, errNoCustomer
			}
			return customer, events.NetflixCustomerData{BillingSystemCustomerIdentifier: customer}, nil
		},
	}
}

// chargesCommand is the subcommand of one of the kinds that take charges.
func chargesCommand(kind events.Kind, short, long string) kindCommand {
	var customer string
	var charges []string
	return kindCommand{
		kind:  kind,
		short: short,
		long: long + fmt.Sprintf(` One command takes up to %d. The key is the first
charge's customer, unless --key says otherwise. Charges that are not taken are listed in the result.`, events.MaxCharges),
		example: fmt.Sprintf(`  subrelay publish %[1]s --charge I00002706=cust-77 --charge I00002707=cust-78 --wait
  subrelay publish %[1]s --customer cust-77 --charge I00002706 --charge I00002711 --id run-0815 --source billing`, kind),
		register: func(flags *pflag.FlagSet) {
			flags.StringArrayVar(&charges, "charge", nil, "a `charge`, as NUMBER=CUSTOMER, or as NUMBER with --customer; repeatable")
			customerFlag(flags, &customer, "the customer of charges that name none")
		},
		data:    func() (string, any, error) { return chargesData(charges, customer) },
		freeKey: true,
	}
}

func chargesData(charges []string, customer string) (string, any, error) {
	if len(charges) == 0 {
		return "", nil, usagef("which charges? Name them with --charge NUMBER=CUSTOMER")
	}
	var d events.NetflixChargesData
	for _, text := range charges {
		number, of, ok := strings.Cut(text, "=")
		if !ok {
			of = customer
		}
		if number == "" || of == "" {
			return "", nil, usagef("--charge %s: whose is it? Write NUMBER=CUSTOMER, or name the customer with --customer", number)
		}
		d.ChargesSet = append(d.ChargesSet, events.ChargeIdentifier{Number: number, BillingSystemCustomerIdentifier: of})
	}
	return d.ChargesSet[0].BillingSystemCustomerIdentifier, d, nil
}
