package admin

import "context"

// Topics is what is known of topics, and done with them. What is returned is as JSON
// will show it; an error may be a *problem.Problem.
type Topics struct {
	List func() (any, error) // a list
	// Pause and Resume return the topic as it then is, when that is on stable storage.
	Pause, Resume func(ctx context.Context, topic string) (any, error)
}

func (a *api) routeTopics(mux *routes) {
	list := func(context.Context) (any, error) {
		items, err := a.Topics.List()
		return map[string]any{"items": items}, err
	}
	mux.HandleFunc("GET /v1/topics", a.answer(list, "the topics"))
	mux.HandleFunc("POST /v1/topics/{topic}/pause", a.decide(aTopic, "pause", a.Topics.Pause))
	mux.HandleFunc("POST /v1/topics/{topic}/resume", a.decide(aTopic, "resume", a.Topics.Resume))
}
