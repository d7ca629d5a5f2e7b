//go:build container

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
)

const subrelayImage = "subrelay:latest"

// docker runs a command of the engine's, and returns what it prints.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	// Cleaning up needs it after the test's own context.
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// makeImages makes those of the compose file: subrelay as the Dockerfile says, and NATS from a registry, or in its place
// this module's own version of the server.
func makeImages(t *testing.T, f composeFile) {
	t.Helper()
	if image := f.Services["worker"].Image; image != subrelayImage {
		t.Fatalf("the compose file's workers are %s", image)
	}
	buildSubrelay(t)
	image := f.Services["nats-1"].Image
	if exec.CommandContext(t.Context(), "docker", "image", "inspect", image).Run() == nil {
		return
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if exec.CommandContext(soon, "docker", "pull", "--quiet", image).Run() == nil {
		return
	}
	buildNATS(t, image)
	// Nobody shall take it for the real one later. The layers stay, and with them the next build is quick.
	t.Cleanup(func() { docker(t, "rmi", "--force", "--no-prune", image) })
}

// buildSubrelay builds the image by the Dockerfile. Its first stage needs a compiler's image, which not every registry
// has: the stage's own command runs here, and the final stage is taken as it stands.
func buildSubrelay(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	_, final, found := strings.Cut(content(t, "../../Dockerfile"), "\nFROM scratch\n")
	if !found {
		t.Fatal("the Dockerfile has no stage from scratch")
	}
	compile(t, filepath.Join(dir, "subrelay"))
	copied := regexp.MustCompile(`(?m)^COPY --from=build (\S+) `)
	final = copied.ReplaceAllStringFunc(final, func(line string) string {
		source := copied.FindStringSubmatch(line)[1]
		name := filepath.Base(source)
		if source != "/out/subrelay" { // what this machine's system has, too
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content(t, source)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return "COPY " + name + " "
	})
	buildImage(t, dir, "FROM scratch\n"+final, subrelayImage)
}

// compile runs the Dockerfile's own command, with another place for the program.
func compile(t *testing.T, program string) {
	t.Helper()
	command := regexp.MustCompile(`(?m)^RUN (.*go build .*)-o /out/subrelay (.*)$`).FindStringSubmatch(content(t, "../../Dockerfile"))
	if command == nil {
		t.Fatal("the Dockerfile does not build /out/subrelay")
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command[1]+"-o '"+program+"' "+command[2])
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "VERSION=v0.0.0-test", "REVISION=0123abc")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// buildNATS builds what stands in for the image of the NATS project: the same server, and the same small tools, which are
// busybox there, too.
func buildNATS(t *testing.T, image string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(dir, "nats-server"), "github.com/nats-io/nats-server/v2")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("%s cannot be pulled, and to build one in its place takes a static busybox (apt-get install busybox-static): %v", image, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "busybox"), []byte(content(t, busybox)), 0o755); err != nil {
		t.Fatal(err)
	}
	buildImage(t, dir, `FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY nats-server /usr/local/bin/nats-server
CMD ["nats-server"]
`, image)
}

func buildImage(t *testing.T, dir, recipe, image string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(recipe), 0o600); err != nil {
		t.Fatal(err)
	}
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		t.Fatal(err)
	}
	defer provider.Close()
	repo, tag, _ := strings.Cut(image, ":")
	var log strings.Builder
	_, err = provider.BuildImage(t.Context(), &testcontainers.ContainerRequest{FromDockerfile: testcontainers.FromDockerfile{
		Context: dir, Dockerfile: "Dockerfile", Repo: repo, Tag: tag, KeepImage: true, BuildLogWriter: &log,
	}})
	if err != nil {
		t.Fatalf("%s: %v\n%s", image, err, log.String())
	}
}
