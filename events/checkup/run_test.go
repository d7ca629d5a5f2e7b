package checkup_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events/checkup"
)

func finding(s checkup.Severity, code string) checkup.Check {
	return checkup.Check{Name: code, Run: func(_ context.Context, f *checkup.Found) error {
		f.Add(checkup.Finding{Severity: s, Code: code})
		return nil
	}}
}

// TestRunIsolatesChecks runs checks that fail, break and hang beside good ones.
func TestRunIsolatesChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		got := checkup.Run(t.Context(), []checkup.Check{
			{Name: "fails", Run: func(context.Context, *checkup.Found) error { return errors.New("no answer") }},
			{Name: "breaks", Run: func(context.Context, *checkup.Found) error { panic("a nil map") }},
			{Name: "hangs", Run: func(ctx context.Context, f *checkup.Found) error {
				f.OK("half", "", "was seen before it hung")
				<-ctx.Done()
				return ctx.Err()
			}},
			{Name: "hangs shorter", Timeout: time.Second, Run: func(ctx context.Context, _ *checkup.Found) error {
				<-ctx.Done()
				return ctx.Err()
			}},
			finding(checkup.OK, "good"), finding(checkup.Error, "bad"), finding(checkup.Note, "said"), finding(checkup.Warning, "aging"),
		})
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("it took %s", took)
		}
		var codes []string
		for _, f := range got {
			codes = append(codes, strings.TrimSpace(f.Severity.String()+" "+f.Code+" "+f.Of))
		}
		want := []string{"error bad", "warning aging", "warning check.failed breaks", "warning check.failed fails",
			"warning check.failed hangs", "warning check.failed hangs shorter", "note said", "ok good", "ok half"}
		if diff := cmp.Diff(want, codes); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if checkup.Worst(got) != checkup.Error || checkup.Worst(nil) != checkup.OK {
			t.Error("the worst is not the worst")
		}
	})
}

func TestStrict(t *testing.T) {
	f := checkup.Finding{Severity: checkup.Warning, Code: "stream.replicas", What: "one", Promise: true}
	if f.Strict().Severity != checkup.Error {
		t.Error("production lives with what can break the promise")
	}
	f.Promise = false
	if f.Strict().Severity != checkup.Warning {
		t.Error("production takes everything for an error")
	}
}

// TestRefused tells the findings on which no worker starts in production.
func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		f    checkup.Finding
		want bool
	}{
		{checkup.Finding{Severity: checkup.Error}, false}, {checkup.Finding{Severity: checkup.Note, Promise: true}, false},
		{checkup.Finding{Severity: checkup.Warning, Promise: true}, true}, {checkup.Finding{Severity: checkup.Error, Promise: true}, true},
		{checkup.Finding{Severity: checkup.Error, Promise: true, Audited: true}, false},
	} {
		if tc.f.Refused() != tc.want {
			t.Errorf("%+v: %t", tc.f, tc.f.Refused())
		}
	}
}

func TestFindingAsJSON(t *testing.T) {
	f := checkup.Finding{Severity: checkup.Warning, Code: "a.b", Of: "X", What: "so", Promise: true}
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"severity":"warning","code":"a.b","of":"X","what":"so","breaks_promise":true}`; string(raw) != want {
		t.Errorf("%s", raw)
	}
	var back checkup.Finding
	if err := json.Unmarshal(raw, &back); err != nil || back != f {
		t.Errorf("%+v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"severity":"grave"}`), &back); err == nil {
		t.Error("a severity that does not exist was read")
	}
}
