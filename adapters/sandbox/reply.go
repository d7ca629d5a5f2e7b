package sandbox

import (
	"cmp"
	"encoding/json"
	"net/http"
)

// reply is what an API answers.
type reply struct {
	status int
	typ    []string // the Content-Type, shared: never to be changed
	body   []byte
}

// The content types. They are slices because that is what a header holds.
var (
	typeJSON = []string{"application/json; charset=utf-8"}
	typeHTML = []string{"text/html; charset=utf-8"}
)

func (r reply) write(w http.ResponseWriter) {
	w.Header()["Content-Type"] = r.typ
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // the client may have left; that is its business
}

// asJSON is a reply of v. v must be of a kind that JSON can hold.
func asJSON(status int, v any) reply {
	body, err := json.Marshal(v)
	if err != nil {
		return message(http.StatusInternalServerError, err.Error())
	}
	return reply{status: status, typ: typeJSON, body: body}
}

// message is an error in the shape that ASP.NET gives it, {"Message": "..."}.
func message(status int, text string) reply {
	return asJSON(status, struct{ Message string }{text})
}

// page is what a proxy or a login screen in front of the API says.
func page(f Fault) reply {
	const html = "<!DOCTYPE html>\n<html><head><title>Service</title></head><body><h1>Please stand by</h1></body></html>\n"
	return reply{status: cmp.Or(f.Status, http.StatusOK), typ: typeHTML, body: []byte(html)}
}
