package redis

import (
	"context"
	"errors"
	"fmt"

	goredis "github.com/redis/go-redis/v9"
)

// errand is one command, and the questions that it answers: one, or all those that end
// in a done mark. A run of a script costs the server more than what the script does, so
// what is done goes into one.
type errand struct {
	of      []*question
	command []any
	script  *script // that it runs; nil: none

	answer any
	err    error
}

// errandsOf are those of a trip.
func errandsOf(aboard []*question, joined bool) (all []*errand) {
	var done *errand
	for _, q := range aboard {
		switch {
		case q.finishes == "":
			all = append(all, &errand{of: []*question{q}, command: q.command, script: q.script})
		case done == nil || !joined:
			done = &errand{script: doneScript}
			all = append(all, done)
			fallthrough
		default:
			done.of = append(done.of, q)
		}
	}
	for _, e := range all {
		if e.command == nil {
			e.finish()
		}
	}
	return all
}

// finish is the command of those that are done.
func (e *errand) finish() {
	e.command = append(make([]any, 0, 4+2*len(e.of)), "evalsha", doneScript.hash, len(e.of))
	for _, q := range e.of {
		e.command = append(e.command, &q.mark) // a pointer is no allocation
	}
	e.command = append(e.command, maxDone)
	for _, q := range e.of {
		e.command = append(e.command, &q.finishes)
	}
}

// whole is the same where the server has forgotten the script.
func (e *errand) whole() {
	e.command = append([]any{"eval", e.script.source}, e.command[2:]...) // another trip may have it, too
}

// apart are the same questions, each by itself: one that is refused refuses no other.
func (e *errand) apart() []*errand { return errandsOf(e.of, false) }

// answered reports whether the server has, and not with what was asked for. What it has
// against a connection, which it says when that is made or of the first command on it,
// is no answer: over another it may give one.
func answered(err error) bool {
	var said goredis.Error
	if !errors.As(err, &said) || errors.Is(err, errNoAnswer) {
		return false
	}
	for _, of := range [...]string{"NOAUTH", "WRONGPASS", "LOADING", "max number of clients"} {
		if goredis.HasErrorPrefix(said, of) { // it looks behind ERR
			return false
		}
	}
	return true
}

// answerOf is what its i-th question is answered.
func (e *errand) answerOf(i int) (any, error) {
	if e.err != nil || e.script != doneScript {
		return e.answer, e.err
	}
	answers, many := e.answer.([]any)
	if !many || len(answers) != len(e.of) {
		return nil, fmt.Errorf("%w: %q", errNoAnswer, e.answer)
	}
	if text, is := answers[i].(string); is { // it was refused: see done.lua
		return answers[i], refusal(text)
	}
	return answers[i], nil
}

// refusal is what done.lua says that the server has against one mark.
type refusal string

func (r refusal) Error() string { return string(r) }

// RedisError makes it an error of the server, as [goredis.Error] has it.
func (refusal) RedisError() {}

// exec sends the commands, and notes their answers.
func (p *pipe) exec(ctx context.Context, all []*errand) {
	if len(all) == 0 {
		return
	}
	to := p.client.Pipeline()
	cmds := make([]*goredis.Cmd, len(all))
	for i, e := range all {
		cmds[i] = to.Do(ctx, e.command...)
	}
	_, err := to.Exec(ctx)
	for i, e := range all {
		switch e.answer, e.err = cmds[i].Result(); {
		case errors.Is(e.err, goredis.Nil):
			e.answer, e.err = nil, nil
		case e.answer == nil && e.err == nil:
			// Nothing was sent: the library notes that for the pipeline alone, where
			// it could not connect.
			e.err = errors.Join(errNoAnswer, err)
		}
	}
}
