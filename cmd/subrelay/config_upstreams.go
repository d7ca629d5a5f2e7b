package main

import (
	"cmp"

	"subrelay/adapters/crmcom"
	"subrelay/adapters/tvms"
	"subrelay/adapters/upstream"
)

// TVMSConfig is the upstream tvms: its API, and the guard before it.
type TVMSConfig struct {
	API   tvms.Settings     `yaml:",inline"`
	Guard upstream.Settings `yaml:",inline"`
}

func (c TVMSConfig) withDefaults() TVMSConfig {
	c.Guard = c.Guard.WithDefaults()
	c.API = c.API.WithDefaults(c.Guard.CallTimeout)
	return c
}

// CRMCOMConfig is the upstream crmcom: its API, and the guard before it.
type CRMCOMConfig struct {
	API   crmcom.Settings   `yaml:",inline"`
	Guard upstream.Settings `yaml:",inline"`
}

func (c CRMCOMConfig) withDefaults() CRMCOMConfig {
	c.Guard = c.Guard.WithDefaults()
	c.API = c.API.WithDefaults(c.Guard.CallTimeout)
	return c
}

// NetflixConfig is the upstream netflix: CRM.COM's Netflix methods, and the guard before them. Where they are, how to get
// in, and whom to trust there, the upstream crmcom says.
type NetflixConfig struct {
	API   crmcom.NetflixSettings `yaml:",inline"`
	Guard upstream.Settings      `yaml:",inline"`
}

// withDefaults takes from crm what is said of the host, as far as c says nothing of its own.
func (c NetflixConfig) withDefaults(crm *CRMCOMConfig) NetflixConfig {
	own, host := &c.Guard, &crm.Guard
	own.AllowPlainHTTP = own.AllowPlainHTTP || host.AllowPlainHTTP
	own.TLSInsecureSkipVerify = own.TLSInsecureSkipVerify || host.TLSInsecureSkipVerify
	own.TLSCAFile = cmp.Or(own.TLSCAFile, host.TLSCAFile)
	if own.TLSCertFile == "" && own.TLSKeyFile == "" {
		own.TLSCertFile, own.TLSKeyFile = host.TLSCertFile, host.TLSKeyFile
	}
	c.Guard = c.Guard.WithDefaults()
	c.API = c.API.WithDefaults(c.Guard.CallTimeout)
	return c
}
