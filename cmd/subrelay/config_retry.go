package main

import (
	"fmt"
	"strings"

	"subrelay/events"
	"subrelay/handlers"
)

// RetryConfig is the retry policy of every kind, each under the kind's name with "_" for "-".
type RetryConfig struct {
	Renew              handlers.Policy `yaml:"renew"`
	Amend              handlers.Policy `yaml:"amend"`
	Swap               handlers.Policy `yaml:"swap"`
	NetflixCreate      handlers.Policy `yaml:"netflix_create"`
	NetflixSuspend     handlers.Policy `yaml:"netflix_suspend"`
	NetflixUnsuspend   handlers.Policy `yaml:"netflix_unsuspend"`
	NetflixCancel      handlers.Policy `yaml:"netflix_cancel"`
	NetflixAcknowledge handlers.Policy `yaml:"netflix_acknowledge"`
	NetflixAccept      handlers.Policy `yaml:"netflix_accept"`
	NetflixDecline     handlers.Policy `yaml:"netflix_decline"`
}

// retryOf is where the retry policy of one kind stands.
type retryOf struct {
	kind   events.Kind
	policy *handlers.Policy
}

// name is the policy as messages name it, such as retry.netflix_create.
func (r retryOf) name() string { return "retry." + strings.ReplaceAll(string(r.kind), "-", "_") }

// each lists the policies by kind.
func (r *RetryConfig) each() []retryOf {
	return []retryOf{
		{events.Renew, &r.Renew},
		{events.Amend, &r.Amend},
		{events.Swap, &r.Swap},
		{events.NetflixCreate, &r.NetflixCreate},
		{events.NetflixSuspend, &r.NetflixSuspend},
		{events.NetflixUnsuspend, &r.NetflixUnsuspend},
		{events.NetflixCancel, &r.NetflixCancel},
		{events.NetflixAcknowledge, &r.NetflixAcknowledge},
		{events.NetflixAccept, &r.NetflixAccept},
		{events.NetflixDecline, &r.NetflixDecline},
	}
}

func (r RetryConfig) withDefaults() RetryConfig {
	for _, one := range r.each() {
		*one.policy = one.policy.WithDefaults()
	}
	return r
}

// check refuses policies that make no sense.
func (r *RetryConfig) check() error {
	for _, one := range r.each() {
		if err := one.policy.Validate(); err != nil {
			return fmt.Errorf("%s: %w", one.name(), err)
		}
	}
	return nil
}

// policies is the retry policy of every kind.
func (r RetryConfig) policies() map[events.Kind]handlers.Policy {
	all := make(map[events.Kind]handlers.Policy)
	for _, one := range r.each() {
		all[one.kind] = *one.policy
	}
	return all
}
