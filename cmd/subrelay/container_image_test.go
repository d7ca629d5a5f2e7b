//go:build container

package main

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

// inImage runs a command line in a container, with more options of docker's, and returns what it prints and its exit code.
func inImage(t *testing.T, options []string, args ...string) (out string, code int) {
	t.Helper()
	all := append([]string{"run", "--rm", "--read-only", "--cap-drop", "ALL"}, options...)
	cmd := exec.CommandContext(t.Context(), "docker", append(append(all, subrelayImage), args...)...)
	raw, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(raw), cmd.ProcessState.ExitCode()
}

// TestContainerImage holds the image against what it is to be: small, not root's, saying which version it is.
func TestContainerImage(t *testing.T) {
	needEngine(t)
	buildSubrelay(t)
	if user := docker(t, "image", "inspect", "--format", "{{.Config.User}}", subrelayImage); user != "65532:65532" {
		t.Errorf("it runs as %q", user)
	}
	size, err := strconv.Atoi(docker(t, "image", "inspect", "--format", "{{.Size}}", subrelayImage))
	if err != nil || size == 0 || size > 40<<20 {
		t.Errorf("it has %d bytes: %v", size, err)
	}
	if out, code := inImage(t, nil, "version", "-o", "json"); code != exitDone || !strings.Contains(out, `"version":"v0.0.0-test","revision":"0123abc"`) {
		t.Errorf("exit %d: %s", code, out)
	}
	t.Run("authorities", imageTrusts)
	t.Run("time zones", imageKnowsZones)
}

// imageTrusts has the image ask a page over TLS whose authority stands among those of the image, and one whose does not.
func imageTrusts(t *testing.T) {
	page := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer page.Close()
	authority := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: page.Certificate().Raw})))
	const where = "/etc/ssl/certs/ca-certificates.crt"
	ask := []string{"health", "--timeout", "30s", "--url", page.URL}
	if out, code := inImage(t, []string{"--network", "host"}, ask...); code != exitError || !strings.Contains(out, "unknown authority") {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := inImage(t, []string{"--network", "host", "--user", "0", "--volume", authority + ":" + where + ":ro"}, ask...); code != exitDone {
		t.Errorf("exit %d: %s", code, out)
	}

	id := docker(t, "create", subrelayImage)
	defer docker(t, "rm", id)
	copied := filepath.Join(t.TempDir(), "authorities")
	docker(t, "cp", id+":"+where, copied)
	var known int
	for rest := []byte(content(t, copied)); ; known++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			t.Error(err)
		}
	}
	if known < 50 {
		t.Errorf("it knows %d authorities", known)
	}
}

// imageKnowsZones starts workers whose upstream counts in a zone of its own: one that is there comes so far as to say what
// it will do, and one with a wrong zone ends.
func imageKnowsZones(t *testing.T) {
	settings := map[string]string{"SUBRELAY_CRMCOM_BASE_URL": "http://127.0.0.1:1", "SUBRELAY_CRMCOM_WEB_API_KEY": "s3cr3t", "SUBRELAY_CRMCOM_RELEASE": "R18.0.0"}
	for zone, said := range map[string]string{"Europe/Nicosia": "upstream crmcom", "Europe/Nikosia": "Europe/Nikosia"} {
		env := map[string]string{"SUBRELAY_CRMCOM_TIME_ZONE": zone}
		for name, value := range settings {
			env[name] = value
		}
		c, err := testcontainers.GenericContainer(t.Context(), testcontainers.GenericContainerRequest{
			ContainerRequest: testcontainers.ContainerRequest{Image: subrelayImage, Env: env, WaitingFor: wait.ForLog(said).WithStartupTimeout(time.Minute)},
			Started:          true,
		})
		testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
		if err != nil {
			t.Errorf("%s: %v", zone, err)
		}
	}
}
