package main

import (
	"cmp"
	"time"

	"subrelay/events"
)

func (c *cli) printTVMSCustomer(raw []byte) error {
	a, err := decodeAnswer[events.TVMSCustomer](raw)
	if err != nil {
		return err
	}
	return c.printTable([]string{"STATUS", "EXPIRES"}, [][]string{{a.Status, day(a.ExpiresAt)}})
}

func (c *cli) printSubscription(raw []byte) error {
	a, err := decodeAnswer[events.Subscription](raw)
	if err != nil {
		return err
	}
	if err := c.printLine("subscription %s (id %s): %s\n", plain(orDash(a.Number)), plain(orDash(a.ID)), plain(orDash(a.LifeCycleState))); err != nil {
		return err
	}
	var rows [][]string
	for _, s := range a.Services {
		rows = append(rows, []string{orDash(s.Product.Code), orDash(s.LifeCycleState), orDash(s.ID), orDash(s.Product.ID), orDash(s.Product.AlternativeCode)})
	}
	return c.printRows("no services", []string{"SERVICE", "STATE", "SUBSCRIPTION SERVICE ID", "PRODUCT ID", "ALTERNATIVE CODE"}, rows)
}

func (c *cli) printNetflixSubscriptions(raw []byte) error {
	a, err := decodeAnswer[events.NetflixSubscriptions](raw)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, s := range a.Subscriptions {
		var promotions []string
		for _, p := range s.Promotions {
			promotions = append(promotions, p.Code)
		}
		rows = append(rows, []string{orDash(s.SubscriptionNumber), orDash(s.NetflixState), orDash(s.LifeCycleState), orDash(joined(s.Prices)), orDash(joined(promotions))})
	}
	return c.printRows("no Netflix subscription", []string{"SUBSCRIPTION", "NETFLIX", "LIFE CYCLE", "PRICES", "PROMOTIONS"}, rows)
}

func (c *cli) printNetflixPromotions(raw []byte) error {
	a, err := decodeAnswer[events.NetflixPromotions](raw)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, p := range a.Promotions {
		rows = append(rows, []string{p.Code, orDash(p.Name), day(p.EffectiveFrom), day(p.ExpiresOn), orDash(p.Description)})
	}
	return c.printRows("no promotions", []string{"CODE", "NAME", "FROM", "UNTIL", "DESCRIPTION"}, rows)
}

// printRows prints a table, or in place of an empty one what that means.
func (c *cli) printRows(none string, header []string, rows [][]string) error {
	if len(rows) == 0 {
		return c.printLine("%s", none)
	}
	return c.printTable(header, rows)
}

func orDash(s string) string { return cmp.Or(s, "-") }

// day is a time as people read it, whole seconds, with its offset.
func day(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}
