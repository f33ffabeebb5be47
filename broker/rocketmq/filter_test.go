package rocketmq

import (
	"errors"
	"io"
	"testing"
)

func TestFilterAnswers(t *testing.T) {
	for _, c := range []struct {
		answer, want error
	}{
		{nil, nil},
		{&responseError{Code: codeSubscriptionParse, Remark: "Encountered EOF"}, ErrFilter},
		{&responseError{Code: 1, Remark: "The broker does not support consumer to filter message by SQL92"}, ErrNoFilter},
		{&responseError{Code: 2, Remark: "busy"}, nil},
		{io.EOF, nil},
	} {
		got := judgeFilter(c.answer)
		for _, known := range []error{ErrFilter, ErrNoFilter} {
			if errors.Is(got, known) != (known == c.want) { //nolint:errorlint // nil is one of them
				t.Errorf("%v: %v", c.answer, got)
			}
		}
		if !errors.Is(got, c.answer) {
			t.Errorf("%v is lost: %v", c.answer, got)
		}
	}
}
