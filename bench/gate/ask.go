package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

func get(ctx context.Context, url string) ([]byte, error) { return ask(ctx, http.MethodGet, url) }

// ask makes one request, whose answer has to be a 2xx.
func ask(ctx context.Context, method, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, res.Status, page)
	}
	return page, err
}
