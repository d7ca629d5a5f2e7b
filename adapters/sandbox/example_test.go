package sandbox_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"subrelay/adapters/sandbox"
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
