package natsjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"subrelay/events/checkup"
)

// userInfo is where every user may ask who he is and what he may, unless that is denied.
const userInfo = "$SYS.REQ.USER.INFO"

// rights are what the server says of the connection's user.
type rights struct {
	User        string `json:"user"`
	Account     string `json:"account"`
	Permissions *struct {
		Publish   *server.SubjectPermission `json:"publish"`
		Subscribe *server.SubjectPermission `json:"subscribe"`
	} `json:"permissions"`
	Expires time.Duration `json:"expires"`
}

// checkRights holds what the user may against what its role needs. Nothing is tried: a publish that is allowed would be
// one.
func (c *Checkup) checkRights(ctx context.Context, found *checkup.Found) error {
	if c.settings.Role == "" {
		return nil
	}
	r, err := c.rights(ctx)
	if errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "rights.unseen", What: "what this user may do cannot be seen", Why: "a right that is missing shows when it is needed",
			Do: "let this user publish " + userInfo})
		return nil
	}
	if err != nil {
		return err
	}
	of := fmt.Sprintf("%s, in account %s", userWord(r.User), r.Account)
	if r.Expires > 0 && r.Expires < certificateSoon {
		found.Add(checkup.Finding{Severity: checkup.Warning, Code: "nats.credentials_expire", Of: of, What: fmt.Sprintf("its credentials expire in %s", r.Expires.Round(time.Hour)),
			Why: "then the server ends its connections", Do: "issue new ones"})
	}
	if r.Permissions == nil {
		found.Add(checkup.Finding{Severity: checkup.Note, Code: "rights.all", Of: of, What: "this user may do everything in its account",
			Why: "a mistake of its, or whoever has its password, can write outcomes and remove streams", Do: "give each role a user with the least rights: subrelay topology permissions"})
		return nil
	}
	access := c.topology.Access(AccessOptions{Manage: c.settings.Manage})
	need := access[slices.IndexFunc(access, func(a Access) bool { return a.Role == c.settings.Role })]
	missing := append(lacking("publish", need.Publish, r.Permissions.Publish), lacking("subscribe", need.Subscribe, r.Permissions.Subscribe)...)
	if len(missing) == 0 {
		found.OK("rights.role", of, "it may do all that the role %s needs", c.settings.Role)
		return nil
	}
	found.Add(checkup.Finding{Severity: checkup.Error, Code: "rights.missing", Of: of, What: fmt.Sprintf("the role %s needs more: %s", c.settings.Role, some(missing)),
		Why: "what is denied fails when it is needed, some of it without an error", Do: c.toPermit(need)})
	return nil
}

// toPermit is what to do about a right that is missing.
func (c *Checkup) toPermit(need Access) string {
	if need.Role == RoleWorker && c.settings.Manage {
		return "set streams.managed_elsewhere, or configure on the server what subrelay topology permissions --role worker --manage prints; is nats.inbox_prefix " + need.InboxPrefix + "?"
	}
	return fmt.Sprintf("subrelay topology permissions --role %s prints what to configure on the server; is nats.inbox_prefix %s?", need.Role, need.InboxPrefix)
}

func userWord(user string) string {
	if user == "" {
		return "nobody in particular"
	}
	return "user " + user
}

func (c *Checkup) rights(ctx context.Context) (rights, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	msg, err := c.js.Conn().RequestWithContext(ctx, userInfo, nil)
	if err != nil {
		return rights{}, err
	}
	var answer struct {
		Data rights `json:"data"`
	}
	err = json.Unmarshal(msg.Data, &answer)
	return answer.Data, err
}

// lacking lists what is needed and not, or not wholly, allowed.
func lacking(verb string, need Subjects, have *server.SubjectPermission) []string {
	var all []string
	for _, subject := range need.Allow {
		if !allows(have, subject, need.Deny) {
			all = append(all, verb+" "+subject)
		}
	}
	return all
}
