package natsjs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// passwordRead is the password that a server reads for billing from an environment with this value; "" where it refuses
// the configuration.
func passwordRead(t *testing.T, value string) string {
	t.Helper()
	for _, r := range Roles() {
		t.Setenv("SUBRELAY_"+strings.ToUpper(string(r))+"_PASSWORD", "other")
	}
	t.Setenv("SUBRELAY_BILLING_PASSWORD", value)
	file := filepath.Join(t.TempDir(), "nats.conf")
	writeFile(t, file, []byte(Names{}.AccessConfig(topology(t, nil).Access(AccessOptions{}))))
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		return ""
	}
	for _, u := range o.Users {
		if u.Username == (Names{}).User(RoleBilling) {
			return u.Password
		}
	}
	return ""
}

// TestPasswordsInTheEnvironment holds what the comment in AccessConfig says against the server, which reads a variable's
// value as configuration: what does not look like a word must stand in double quotes there.
func TestPasswordsInTheEnvironment(t *testing.T) {
	for _, word := range []string{"s3cr3t", "a-b_c.d", "Zm9v+/bar"} {
		if got := passwordRead(t, word); got != word {
			t.Errorf("%s is read as %q", word, got)
		}
	}
	for _, awkward := range []string{"12345678", "0123456789", "-7", "1.5", "10k", "true", "off", "p w", "x;y", "x#y", "$ecret", "a,b", "{a", "[a", "x'y"} {
		if got := passwordRead(t, `"`+awkward+`"`); got != awkward {
			t.Errorf("%s, quoted, is read as %q", awkward, got)
		}
	}
	for _, refused := range []string{"12345678", "true", "p w", "x;y", "$ecret"} {
		if got := passwordRead(t, refused); got == refused {
			t.Errorf("%s is read as it is: the comment in the output says that it is not", refused)
		}
	}
	if got := passwordRead(t, `"x\"y\\z"`); got != `x"y\z` {
		t.Errorf("quotes and backslashes, escaped: %q", got)
	}
	const hash = "$2a$04$FGoU/IH3EVWVjCIIauhd0uZXFuV1ikzejehxjiwqhOQMz6TtDuJ4O" // of 12345678, as nats server passwd makes it
	if got := passwordRead(t, hash); got != hash {
		t.Errorf("a bcrypt hash is read as %q", got)
	}
	s := startGuarded(t, Names{}.AccessConfig(topology(t, nil).Access(AccessOptions{})))
	t.Setenv("SUBRELAY_BILLING_PASSWORD", hash)
	s.Reconfigure(Names{}.AccessConfig(topology(t, nil).Access(AccessOptions{})))
	connects(t, ConnectOptions{URL: s.URL(), User: Names{}.User(RoleBilling), Password: "12345678"}, "")
}
