package built

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Ask makes one request without a body, whose answer has to be a 2xx, and returns
// what the answer holds.
func Ask(ctx context.Context, method, url string) ([]byte, error) {
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
