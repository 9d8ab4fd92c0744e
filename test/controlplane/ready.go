package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// requestTimeout bounds one question whether a program is ready.
const requestTimeout = 5 * time.Second

// expectOK returns nil when a GET of the URL is answered with 200.
func expectOK(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return nil
}
