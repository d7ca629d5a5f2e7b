package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// A test loses the reply to a renewal, and asks the book what has happened.
func Example() {
	tvms := sandbox.NewTVMS(sandbox.TVMSOptions{
		Customers: []sandbox.Customer{{MappingID: "C-10042", Expires: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}},
	})
	srv := httptest.NewServer(tvms.Handler())
	defer srv.Close()

	if err := tvms.Faults().Next(sandbox.Fault{Kind: sandbox.ResetAfter}); err != nil {
		fmt.Println(err)
	}
	resp, err := http.Post(srv.URL+"/api/RenewCustomer/renewCustomerV2?customermappingid=C-10042&userid=0&months=1&days=0"+
		"&crmServices=demo_crm&fromExpireDate=true&authToken=x&password=0", "", nil)
	if err == nil {
		_ = resp.Body.Close()
	}
	fmt.Println("a reply was lost:", err != nil)
	for _, e := range tvms.Book().Effects() {
		fmt.Println(e.Key, e.Applied, e.Detail["fault"], e.Detail["after"])
	}
	// Output:
	// a reply was lost: true
	// C-10042 true reset_after 2026-02-28T00:00:00Z
}

// A test loses the reply to a swap, sends it again with the same reference, and is told that it was done.
func ExampleCRMCOM() {
	crm := sandbox.NewCRMCOM(sandbox.CRMCOMOptions{
		Subscriptions: []sandbox.Subscription{{
			Number: "S0000012345", Services: []sandbox.Service{{Product: events.ServiceIdentifier{Code: "INTERNET_100"}}},
		}},
	})
	srv := httptest.NewServer(crm.Handler())
	defer srv.Close()
	call := func(method, body string) (string, error) {
		req, err := http.NewRequest(http.MethodPost, srv.URL+"/crmapi/rest/v2/"+method, strings.NewReader(body))
		if err != nil {
			return "", err
		}
		req.Header.Set("Content-Type", "application/json")
		req.SetBasicAuth("any-web-api-key", "")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		var reply struct {
			Data   struct{ Token string }
			Status struct{ Code string }
		}
		err = json.NewDecoder(resp.Body).Decode(&reply)
		return reply.Status.Code + reply.Data.Token, err
	}

	token, _ := call("authentication/web_api_key/token", "{}")
	swap := `{"token":"` + strings.TrimPrefix(token, "OK") + `","subscription_identifier":{"number":"S0000012345"},
		"transaction_reference_number":"ORD-2024-000982","services_to_swap_set":[
		{"from_service":{"service_identifier":{"code":"INTERNET_100"}},"to_service":{"service_identifier":{"code":"INTERNET_200"}}}]}`
	if err := crm.Faults().Next(sandbox.Fault{Kind: sandbox.ResetAfter}); err != nil {
		fmt.Println(err)
	}
	_, err := call("subscriptions/amend", swap)
	fmt.Println("a reply was lost:", err != nil)
	fmt.Println(call("subscriptions/amend", swap))
	for _, e := range crm.Book().Effects() {
		fmt.Println(e.Key, e.Kind, e.Applied, e.Detail["swap"])
	}
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// a reply was lost: true
	// DUPLICATE_REFERENCE <nil>
	// S0000012345 swap true INTERNET_100 > INTERNET_200
	// S0000012345 swap false INTERNET_100 > INTERNET_200
}
