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

// newControl is the control endpoints; see the package comment.
func (t *TVMS) newControl() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]func(*http.Request) (any, error){
		"GET /_books":        t.readBook,
		"DELETE /_books":     func(*http.Request) (any, error) { t.book.Clear(); return t.book.Totals(), nil },
		"GET /_faults":       func(*http.Request) (any, error) { return t.faults.Plan(), nil },
		"PUT /_faults":       t.setFaults,
		"DELETE /_faults":    func(*http.Request) (any, error) { t.faults.Lift(); return t.faults.Plan(), nil },
		"GET /_customers":    t.readCustomers,
		"PUT /_customers":    t.putCustomers,
		"GET /_health":       t.health,
		"GET /_faults/kinds": func(*http.Request) (any, error) { return FaultKinds(), nil },
	} {
		mux.Handle(pattern, control(h))
	}
	return mux
}

// control renders what an endpoint returns. An error is the caller's mistake: 400.
func control(h func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := h(r)
		if err != nil {
			asJSON(http.StatusBadRequest, map[string]string{"error": err.Error()}).write(w)
			return
		}
		asJSON(http.StatusOK, v).write(w)
	})
}

func (t *TVMS) health(*http.Request) (any, error) {
	h := Health{Status: "ok", Totals: t.book.Totals()}
	if t.faults.Plan().Down {
		h.Status = "down"
	}
	return h, nil
}

func (t *TVMS) readBook(r *http.Request) (any, error) {
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
	return t.book.Page(q), nil
}

func (t *TVMS) setFaults(r *http.Request) (any, error) {
	raw, err := readBody(r)
	if err != nil {
		return nil, err
	}
	plan, err := DecodePlan(raw)
	if err != nil {
		return nil, err
	}
	if err := t.faults.Set(plan); err != nil {
		return nil, err
	}
	return t.faults.Plan(), nil
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
