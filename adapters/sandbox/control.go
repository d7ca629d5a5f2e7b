package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

const (
	maxControlBody   = 8 << 20
	defaultPageLimit = 1000
	maxPageLimit     = 100_000
)

// Health is the answer to GET /_health.
type Health struct {
	Status string `json:"status"` // "ok", or "down" while Plan.Down is set
	Totals
}

// endpoint is a control endpoint: what it returns goes out as JSON, and an error is the caller's mistake.
type endpoint func(*http.Request) (any, error)

// newControl is the control endpoints that all imitations share, and more; see the package comment.
func (s *stage) newControl(more map[string]endpoint) http.Handler {
	shared := map[string]endpoint{
		"GET /_books":        s.readBook,
		"DELETE /_books":     func(*http.Request) (any, error) { s.book.Clear(); return s.book.Totals(), nil },
		"GET /_faults":       func(*http.Request) (any, error) { return s.faults.Plan(), nil },
		"PUT /_faults":       s.setFaults,
		"DELETE /_faults":    func(*http.Request) (any, error) { s.faults.Lift(); return s.faults.Plan(), nil },
		"GET /_health":       s.health,
		"GET /_faults/kinds": func(*http.Request) (any, error) { return FaultKinds(), nil },
	}
	mux := http.NewServeMux()
	for _, endpoints := range []map[string]endpoint{shared, more} {
		for pattern, e := range endpoints {
			mux.Handle(pattern, control(e))
		}
	}
	return mux
}

// control renders what an endpoint returns. An error is the caller's mistake: 400.
func control(e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := e(r)
		if err != nil {
			asJSON(http.StatusBadRequest, map[string]string{"error": err.Error()}).write(w)
			return
		}
		asJSON(http.StatusOK, v).write(w)
	})
}

func (s *stage) health(*http.Request) (any, error) {
	h := Health{Status: "ok", Totals: s.book.Totals()}
	if s.faults.Plan().Down {
		h.Status = "down"
	}
	return h, nil
}

func (s *stage) readBook(r *http.Request) (any, error) {
	q := BookQuery{Customer: r.FormValue("customer"), Limit: defaultPageLimit}
	if text := r.FormValue("after"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("after=%q is not the begin_order of an entry", text)
		}
		q.After = n
	}
	if text := r.FormValue("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPageLimit {
			return nil, fmt.Errorf("limit=%q is not a number from 1 to %d", text, maxPageLimit)
		}
		q.Limit = n
	}
	return s.book.Page(q), nil
}

func (s *stage) setFaults(r *http.Request) (any, error) {
	raw, err := readBody(r)
	if err != nil {
		return nil, err
	}
	plan, err := DecodePlan(raw)
	if err != nil {
		return nil, err
	}
	if err := s.faults.Set(plan); err != nil {
		return nil, err
	}
	return s.faults.Plan(), nil
}

func (t *TVMS) readCustomers(r *http.Request) (any, error) {
	return CustomerList{Customers: t.customers.list(r.FormValue("customer"), t.clock())}, nil
}

func (t *TVMS) putCustomers(r *http.Request) (any, error) {
	raw, err := readBody(r)
	if err != nil {
		return nil, err
	}
	var list CustomerList
	if err := decodeStrict(raw, &list); err != nil {
		return nil, fmt.Errorf("the customers: %w", err)
	}
	if err := t.customers.put(list.Customers); err != nil {
		return nil, err
	}
	return map[string]int{"customers": len(list.Customers)}, nil
}

func readBody(r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxControlBody+1))
	if err != nil {
		return nil, errors.New("the body could not be read")
	}
	if len(raw) > maxControlBody {
		return nil, fmt.Errorf("the body is larger than %d bytes", maxControlBody)
	}
	return raw, nil
}
