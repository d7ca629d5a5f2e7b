package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"subrelay/adapters/sandbox"
)

// BenchmarkSwap is the path that the bench measures against, as BenchmarkRenew is for TVMS: no fault, no latency, and
// no network here. Subscriptions are made on sight, and
// swapped to and fro.
func BenchmarkSwap(b *testing.B) {
	c := sandbox.NewCRMCOM(sandbox.CRMCOMOptions{AutoCreate: true})
	h := c.Handler()
	request := httptest.NewRequest(http.MethodPost, api+byKey, strings.NewReader("{}"))
	request.SetBasicAuth("any", "")
	request.Header.Set("Content-Type", "application/json")
	first := httptest.NewRecorder()
	h.ServeHTTP(first, request)
	var got struct{ Data struct{ Token string } }
	if err := json.Unmarshal(first.Body.Bytes(), &got); err != nil || got.Data.Token == "" {
		b.Fatal(first.Body)
	}
	before := `{"token":"` + got.Data.Token + `","subscription_identifier":{"number":"S000000`
	const after = `"},"transaction_reference_number":"abcdefghijklmnopqrstuvwxyz`
	swaps := [2]string{}
	for i, codes := range [][2]string{{"INTERNET_100", "INTERNET_200"}, {"INTERNET_200", "INTERNET_100"}} {
		swaps[i] = fmt.Sprintf(`","services_to_swap_set":[{"from_service":{"service_identifier":{"code":%q}},"to_service":{"service_identifier":{"code":%q}}}]}`, codes[0], codes[1])
	}
	request = httptest.NewRequest(http.MethodPost, api+amend, nil)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Request-ID", "abcdefghijklmnopqrstuvwxyz.1")
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		text := before + strconv.Itoa(n%2000) + after + strconv.Itoa(n) + swaps[n/2000%2]
		request.Body, request.ContentLength = body{strings.NewReader(text)}, int64(len(text))
		h.ServeHTTP(w, request)
	}
	if c.Book().Totals().Applied != int64(b.N) {
		b.Fatalf("%+v after %d", c.Book().Totals(), b.N)
	}
}

type body struct{ *strings.Reader }

func (body) Close() error { return nil }
