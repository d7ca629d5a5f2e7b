package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newHealthCommand(c *cli) *cobra.Command {
	var urls []string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a worker beside this command whether it is ready",
		Long: `Ask a worker whether it is ready: its /readyz at worker.http_addr, or any other page that answers 200 when all is well,
such as the imitations' /_health. Exit code 0 means that all of them are, 1 that one is not, or does not answer. It is the
health check of a container that has nothing but this program.`,
		Example: `  subrelay health
  subrelay health --url http://127.0.0.1:8480/healthz
  subrelay health --url http://127.0.0.1:8481/_health --url http://127.0.0.1:8482/_health`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usagef("--timeout is %s, and must be positive", timeout)
			}
			if len(urls) == 0 {
				cfg, err := c.loadConfig()
				if err != nil {
					return err
				}
				if cfg.Worker.HTTPAddr == noListen {
					return usagef("worker.http_addr is none: a worker serves no health there; --url names another page")
				}
				urls = []string{loopback("http://"+cfg.Worker.HTTPAddr) + "/readyz"}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return c.askHealth(ctx, urls)
		},
	}
	cmd.Flags().StringArrayVar(&urls, "url", nil, "page to ask; may be repeated (default /readyz at worker.http_addr)")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for all answers")
	return cmd
}

// askHealth prints what each page says, and fails for the first that is not well.
func (c *cli) askHealth(ctx context.Context, urls []string) error {
	for _, text := range urls {
		page, err := url.Parse(text)
		if err != nil || page.Host == "" || (page.Scheme != "http" && page.Scheme != "https") {
			return usagef("--url must be an address such as http://127.0.0.1:8480/readyz")
		}
		body, err := askPage(ctx, page)
		if err != nil {
			return err
		}
		if err := c.printHealth(page, body); err != nil {
			return err
		}
	}
	return nil
}

// maxHealth is the most that is read of a page, in bytes.
const maxHealth = 1 << 20

// askPage is the body of a page that answers 200.
func askPage(ctx context.Context, page *url.URL) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page.String(), nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it asks what is near
	shown := page.Redacted()
	resp, err := client.Do(req)
	if err != nil {
		var why *url.Error
		if errors.As(err, &why) { // it names the whole address
			err = why.Err
		}
		return nil, hinted(fmt.Errorf("%s does not answer: %w", shown, err), "is a worker running there? worker.http_addr and --url say where to ask")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealth))
	if err != nil {
		return nil, fmt.Errorf("%s: half an answer", shown)
	}
	if resp.StatusCode == http.StatusOK {
		return body, nil
	}
	var r readiness
	if json.Unmarshal(body, &r) == nil && len(r.Reasons) > 0 {
		return nil, fmt.Errorf("%s: not ready: %s", shown, strings.Join(r.Reasons, "; "))
	}
	return nil, fmt.Errorf("%s answers %s", shown, resp.Status)
}

// printHealth prints the page's own JSON, or one line for people.
func (c *cli) printHealth(page *url.URL, body []byte) error {
	var line bytes.Buffer
	if c.wantJSON && json.Compact(&line, body) == nil {
		return c.printLine("%s", line.String())
	}
	return c.printLine("%s: well", page.Redacted())
}
