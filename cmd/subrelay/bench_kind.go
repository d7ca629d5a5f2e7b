package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"subrelay/adapters/sandbox"
	"subrelay/adapters/upstream"
	"subrelay/events"
)

// benchKind is a kind of command that can be measured: its upstream, its commands, and what one looks like on the wire.
type benchKind struct {
	kind     events.Kind
	upstream events.Upstream
	key      string // of the n-th customer, a format
	data     func(key string) any
	// configure fits a worker's settings to the imitation, all but its address.
	configure func(cfg *Config, concurrency int)
	// imitate is the imitation, ready for n commands for keys customers in turn, and its book.
	imitate func(b *benchSet, n, keys int) (http.Handler, *sandbox.Book, error)
	// point tells a worker the imitation's address.
	point func(cfg *Config, url string)
	// login gets what a call of the floor must carry beside the sample's bytes; nil where that is nothing.
	login func(ctx context.Context, client *http.Client, url string) (token string, err error)
}

// benchKinds are those that have one call for each command, on a customer who was not named before.
func benchKinds() map[events.Kind]benchKind {
	return map[events.Kind]benchKind{events.Renew: benchRenew(), events.Swap: benchSwap()}
}

func benchRenew() benchKind {
	return benchKind{
		kind: events.Renew, upstream: events.TVMS, key: "C-%07d",
		data: func(key string) any {
			return events.RenewData{CustomerMappingID: key, Months: 1, CRMService: "bench_crm"}
		},
		configure: func(cfg *Config, concurrency int) {
			cfg.TVMS.API.AuthToken, cfg.TVMS.API.CRMService = upstream.NewSecret(sandboxToken), "bench_crm"
			cfg.TVMS.Guard.Concurrency = concurrency
		},
		imitate: func(b *benchSet, _, _ int) (http.Handler, *sandbox.Book, error) {
			tvms := sandbox.NewTVMS(sandbox.TVMSOptions{
				AuthToken: sandboxToken, Latency: b.stage.f.latency, AutoCreate: time.Now().UTC().AddDate(0, 1, 0).Truncate(time.Second),
			})
			return tvms.Handler(), tvms.Book(), nil
		},
		point: func(cfg *Config, url string) { cfg.TVMS.API.BaseURL = url },
	}
}

// The services that the swaps swap.
const (
	benchSwapFrom = "INTERNET_100"
	benchSwapTo   = "INTERNET_200"
)

func benchSwap() benchKind {
	return benchKind{
		kind: events.Swap, upstream: events.CRMCOM, key: "S%010d",
		data: func(key string) any {
			return events.SwapData{
				ActionData: events.ActionData{SubscriptionIdentifier: &events.SubscriptionIdentifier{Number: key}},
				ServicesToSwapSet: []events.ServiceSwap{{
					FromService: events.SwapFrom{ServiceIdentifier: &events.ServiceIdentifier{Code: benchSwapFrom}},
					ToService:   events.SwapTo{ServiceIdentifier: events.ServiceIdentifier{Code: benchSwapTo}},
				}},
			}
		},
		configure: func(cfg *Config, concurrency int) {
			cfg.CRMCOM.API.WebAPIKey, cfg.CRMCOM.API.Release = upstream.NewSecret(sandboxToken), "R18.0.0"
			cfg.CRMCOM.API.Swap.Confirmed = true
			cfg.CRMCOM.Guard.Concurrency = concurrency
			cfg.Netflix.API.Disabled = true
		},
		imitate: imitateForSwaps,
		point:   func(cfg *Config, url string) { cfg.CRMCOM.API.BaseURL = url },
		login:   loginToImitation,
	}
}

// imitateForSwaps gives each subscription as many services as it has swaps: the floor keeps no order, and any of its
// swaps may come first.
func imitateForSwaps(b *benchSet, n, keys int) (http.Handler, *sandbox.Book, error) {
	crm := sandbox.NewCRMCOM(sandbox.CRMCOMOptions{WebAPIKey: sandboxToken, Latency: b.stage.f.latency})
	services := make([]sandbox.Service, (n+keys-1)/keys)
	for i := range services {
		services[i].Product.Code = benchSwapFrom
	}
	list := make([]sandbox.Subscription, min(n, keys))
	for i := range list {
		list[i] = sandbox.Subscription{Number: fmt.Sprintf(b.stage.kind.key, i), Services: services}
	}
	return crm.Handler(), crm.Book(), crm.PutSubscriptions(list...)
}

// loginToImitation gets a token of CRM.COM as any client does.
func loginToImitation(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/crmapi/rest/v2/authentication/web_api_key/token", strings.NewReader("{}"))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(sandboxToken, "")
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var reply struct {
		Data struct {
			Token string `json:"token"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil || reply.Data.Token == "" {
		return "", fmt.Errorf("the imitation gave no token: %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return reply.Data.Token, err
}

// benchForm is the text of a request with places that are filled anew for each command.
type benchForm struct {
	parts [][]byte // of the text, and between them the places
	fill  []int    // which value comes behind each part but the last
}

// newBenchForm makes a form of text, in which values stand. An empty value stands nowhere.
func newBenchForm(text []byte, values ...string) benchForm {
	var f benchForm
	for {
		first, which := len(text), -1
		for i, v := range values {
			if at := bytes.Index(text, []byte(v)); v != "" && at >= 0 && at < first {
				first, which = at, i
			}
		}
		f.parts = append(f.parts, text[:first])
		if which < 0 {
			return f
		}
		f.fill = append(f.fill, which)
		text = text[first+len(values[which]):]
	}
}

// with is the text with other values.
func (f *benchForm) with(values ...string) []byte {
	var out []byte
	for i, part := range f.parts {
		out = append(out, part...)
		if i < len(f.fill) {
			out = append(out, values[f.fill[i]]...)
		}
	}
	return out
}
