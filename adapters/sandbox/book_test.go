package sandbox_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"subrelay/adapters/sandbox"
	"subrelay/events"
)

// renewDirectly calls the handler without a network.
func renewDirectly(tvms http.Handler, request *http.Request) int {
	w := httptest.NewRecorder()
	tvms.ServeHTTP(w, request)
	return w.Code
}

func TestABookIsBounded(t *testing.T) {
	for _, tc := range []struct{ limit, calls, least, most int }{
		{limit: 1, calls: 10, least: 1, most: 1},
		{limit: 100, calls: 1000, least: 100, most: 200},
		{limit: 2000, calls: 5000, least: 2000, most: 2560},
		{limit: -1, calls: 10, least: 0, most: 0},
		{limit: 0, calls: 2000, least: 2000, most: 2000},
	} {
		opts := options()
		opts.BookLimit = tc.limit
		tvms := sandbox.NewTVMS(opts)
		h := tvms.Handler()
		for range tc.calls {
			if code := renewDirectly(h, httptest.NewRequest(http.MethodPost, v2+"?"+params("months", "0", "days", "1").Encode(), nil)); code != 200 {
				t.Fatal(code)
			}
		}
		kept, total := tvms.Book().Effects(), tvms.Book().Totals()
		if len(kept) < tc.least || len(kept) > tc.most {
			t.Errorf("limit %d: %d kept of %d", tc.limit, len(kept), tc.calls)
		}
		if want := int64(tc.calls); total.Calls != want || total.Applied != want || total.Dropped != want-int64(len(kept)) {
			t.Errorf("limit %d: %+v, %d kept", tc.limit, total, len(kept))
		}
		if n := len(kept); n > 0 && kept[n-1].EndOrder != int64(3*tc.calls) {
			t.Errorf("limit %d: the newest is %+v", tc.limit, kept[n-1])
		}
	}
}

// Imitations that share a book share its ticks, and a fault plan played by both counts for both.
func TestSharedBookAndFaults(t *testing.T) {
	book, faults := sandbox.NewBook(0), sandbox.NewFaults(1)
	opts := options()
	opts.Book, opts.Faults = book, faults
	a, b := serve(t, opts), serve(t, opts)
	if err := faults.Next(sandbox.Fault{Kind: sandbox.ErrorBefore}); err != nil {
		t.Fatal(err)
	}
	if x, y := a.renew(), b.renew(); x.Status != 500 || y.Status != 200 {
		t.Errorf("%+v, %+v", x, y)
	}
	if all := book.Effects(); len(all) != 2 || all[1].BeginOrder <= all[0].EndOrder || all[1].Upstream != events.TVMS {
		t.Errorf("%+v", all)
	}
}

// BenchmarkRenew is the path that the bench measures against: no fault, no latency, and no network here.
func BenchmarkRenew(b *testing.B) {
	opts := options()
	tvms := sandbox.NewTVMS(opts)
	h := tvms.Handler()
	request := httptest.NewRequest(http.MethodPost, v2+"?"+params("fromExpireDate", "false").Encode(), nil)
	request.Header.Set("X-Request-ID", "abcdefghijklmnopqrstuvwxyz.1")
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, request)
	}
	if tvms.Book().Totals().Applied != int64(b.N) {
		b.Fatalf("%+v after %d", tvms.Book().Totals(), b.N)
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkRenewOverTCP is the same over a connection of its own per client.
func BenchmarkRenewOverTCP(b *testing.B) {
	u := serve(b, options())
	u.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if a := u.renew("fromExpireDate", "false"); a.Status != 200 {
				b.Error(a)
				return
			}
		}
	})
	u.client.CloseIdleConnections()
}
