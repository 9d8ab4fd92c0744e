package objectcache

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// accounts is a fake client for ServiceAccounts. It answers lists from listed, and
// returns watches whose events the test sends.
type accounts struct {
	listed []corev1.ServiceAccount
	// streams reports whether lists are streamed.
	streams bool
	// endWithContext makes each watch end with its context, as connections do.
	endWithContext bool
	// logger is the Logger of the watch, nil for none.
	logger *slog.Logger
	// failed counts failed attempts to list or watch.
	failed prometheus.Counter

	mu sync.Mutex
	// refused is the error of each attempt, nil for none.
	refused error
	lists   []metav1.ListOptions
	options []metav1.ListOptions
	watches []*watch.FakeWatcher
}

func (a *accounts) List(_ context.Context, options metav1.ListOptions) (*corev1.ServiceAccountList, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused != nil {
		return nil, a.refused
	}
	a.lists = append(a.lists, options)
	first := 0
	if options.Continue != "" {
		first, _ = strconv.Atoi(options.Continue)
	}
	last := len(a.listed)
	page := &corev1.ServiceAccountList{ListMeta: metav1.ListMeta{ResourceVersion: "100"}}
	// As API servers do: for version 0 everything is in one page.
	if options.Limit > 0 && options.ResourceVersion != "0" && first+int(options.Limit) < last {
		last = first + int(options.Limit)
		page.Continue = strconv.Itoa(last)
	}
	page.Items = slices.Clone(a.listed[first:last])
	return page, nil
}

func (a *accounts) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused != nil {
		return nil, a.refused
	}
	if options.SendInitialEvents != nil && !a.streams {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", nil)
	}
	a.options = append(a.options, options)
	w := watch.NewFake()
	if a.endWithContext {
		context.AfterFunc(ctx, w.Stop)
	}
	a.watches = append(a.watches, w)
	return w, nil
}

// last returns the newest watch. It does not wait, because synctest does.
func (a *accounts) last() (*watch.FakeWatcher, metav1.ListOptions) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.watches[len(a.watches)-1], a.options[len(a.options)-1]
}

const role = "role"

// account returns a ServiceAccount, with a role if role is not empty.
func account(name, itsRole string) *corev1.ServiceAccount {
	made := &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, ResourceVersion: "1", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}},
		Secrets:    []corev1.ObjectReference{{Name: "a"}},
	}
	if itsRole != "" {
		made.Annotations = map[string]string{role: itsRole}
	}
	return made
}

// keeper stores the roles of ServiceAccounts that have one, and counts the objects that
// a reflector held.
type keeper struct {
	*FilteredStore[*corev1.ServiceAccount, string]
	stripped int
}

func newKeeper() *keeper {
	var k keeper
	k.FilteredStore = NewFilteredStore(
		func(a *corev1.ServiceAccount) (string, bool) {
			return a.Annotations[role], a.Annotations[role] != ""
		},
		func(a *corev1.ServiceAccount) *corev1.ServiceAccount {
			k.stripped++
			return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Name, ResourceVersion: a.ResourceVersion, Annotations: a.Annotations}}
		},
	)
	return &k
}

// roles returns the stored roles by name.
func (k *keeper) roles() map[string]string {
	found := map[string]string{}
	for name, itsRole := range k.All() {
		found[name.Name] = itsRole
	}
	return found
}

// bookmark returns a bookmark of a version. If endsList is true, it ends a
// list.
func bookmark(version string, endsList bool) watch.Event {
	made := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}}
	if endsList {
		made.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	return watch.Event{Type: watch.Bookmark, Object: made}
}

func added(name, itsRole string) watch.Event {
	return watch.Event{Type: watch.Added, Object: account(name, itsRole)}
}

func modified(name, itsRole string) watch.Event {
	return watch.Event{Type: watch.Modified, Object: account(name, itsRole)}
}

func deleted(name, itsRole string) watch.Event {
	return watch.Event{Type: watch.Deleted, Object: account(name, itsRole)}
}

func expired() watch.Event {
	status := apierrors.NewResourceExpired("too old resource version").Status()
	return watch.Event{Type: watch.Error, Object: &status}
}

// play sends events over the newest watch, and waits until they are processed.
func (a *accounts) play(events ...watch.Event) {
	w, _ := a.last()
	for _, event := range events {
		w.Action(event.Type, event.Object)
	}
	synctest.Wait()
}

// refuse makes each later attempt to list or watch fail with err, nil for none.
func (a *accounts) refuse(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = err
}

// failures returns the counter of failed attempts.
func (a *accounts) failures() prometheus.Counter {
	if a.failed == nil {
		a.failed = prometheus.NewCounter(prometheus.CounterOpts{Name: "failures"})
	}
	return a.failed
}

// watching calls then while a Watch fills the store with the accounts.
func watching(t *testing.T, source *accounts, store *keeper, then func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	run := Watch(WatchConfig[*corev1.ServiceAccountList]{
		Name: "accounts", Expected: &corev1.ServiceAccount{}, Client: source,
		Store: store.FilteredStore, Health: store.Health(), Failures: source.failures(), Metrics: prometheus.NewRegistry(), Logger: source.logger,
	})
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	synctest.Wait()
	then()
	cancel()
	running.Wait()
}

func TestWatchList_initialState(t *testing.T) {
	for name, test := range map[string]struct {
		events []watch.Event
		want   map[string]string
		// held is how many objects may reach the reflector.
		held int
	}{
		"some are kept": {
			[]watch.Event{added("a", ""), added("b", "B"), added("c", ""), added("d", "D")},
			map[string]string{"b": "B", "d": "D"},
			2,
		},
		"none is kept":                       {[]watch.Event{added("a", ""), added("b", "")}, nil, 0},
		"there is none":                      {nil, nil, 0},
		"a role is taken away meanwhile":     {[]watch.Event{added("a", "A"), modified("a", "")}, nil, 2},
		"a role is changed meanwhile":        {[]watch.Event{added("a", "A"), modified("a", "B")}, map[string]string{"a": "B"}, 2},
		"a role is given meanwhile":          {[]watch.Event{added("a", ""), modified("a", "A")}, map[string]string{"a": "A"}, 1},
		"one with a role is deleted":         {[]watch.Event{added("a", "A"), deleted("a", "A")}, nil, 1},
		"one is deleted as its role is":      {[]watch.Event{added("a", "A"), deleted("a", "")}, nil, 1},
		"one without a role is deleted":      {[]watch.Event{added("a", ""), deleted("a", "")}, nil, 0},
		"one comes again without a role":     {[]watch.Event{added("a", "A"), deleted("a", "A"), added("a", "")}, nil, 1},
		"one comes again with a role":        {[]watch.Event{added("a", ""), deleted("a", ""), added("a", "A")}, map[string]string{"a": "A"}, 1},
		"a bookmark that does not end it":    {[]watch.Event{added("a", "A"), bookmark("50", false), added("b", ""), added("c", "C")}, map[string]string{"a": "A", "c": "C"}, 2},
		"a role is lost, given, lost, given": {[]watch.Event{added("a", "A"), modified("a", ""), modified("a", "B"), modified("a", ""), modified("a", "C")}, map[string]string{"a": "C"}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source, store := &accounts{streams: true}, newKeeper()
				watching(t, source, store, func() {
					source.play(test.events...)
					if store.Health().SyncSignal() {
						t.Error("the store is synced before the end of the list")
					}
					source.play(bookmark("100", true))
					if !store.Health().SyncSignal() {
						t.Error("the store is not synced at the end of the list")
					}
					if got := store.roles(); !maps.Equal(got, test.want) {
						t.Errorf("got %v, want %v", got, test.want)
					}
					if store.stripped != test.held {
						t.Errorf("got %d objects in the reflector, want %d", store.stripped, test.held)
					}
					if len(source.lists) != 0 || len(source.watches) != 1 {
						t.Errorf("got %d lists and %d watches, want one watch", len(source.lists), len(source.watches))
					}
				})
			})
		})
	}
}

func TestWatchList_laterEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, store := &accounts{streams: true}, newKeeper()
		watching(t, source, store, func() {
			source.play(added("a", "A"), added("b", ""), added("c", "C"), bookmark("100", true))
			for _, step := range []struct {
				event watch.Event
				want  map[string]string
			}{
				{added("d", ""), map[string]string{"a": "A", "c": "C"}},
				{modified("d", "D"), map[string]string{"a": "A", "c": "C", "d": "D"}},
				{modified("b", "B"), map[string]string{"a": "A", "b": "B", "c": "C", "d": "D"}},
				{modified("a", ""), map[string]string{"b": "B", "c": "C", "d": "D"}},
				{deleted("b", "B"), map[string]string{"c": "C", "d": "D"}},
				{bookmark("200", false), map[string]string{"c": "C", "d": "D"}},
				// Not an event of a list, so the store may have the object.
				{added("c", ""), map[string]string{"d": "D"}},
				{added("c", "C2"), map[string]string{"c": "C2", "d": "D"}},
			} {
				source.play(step.event)
				if got := store.roles(); !maps.Equal(got, step.want) {
					t.Errorf("after %s of %v: got %v, want %v", step.event.Type, nameOf(step.event.Object.(*corev1.ServiceAccount)), got, step.want)
				}
			}
		})
	})
}

// settle waits until the reflector has backed off and retried.
func settle() {
	time.Sleep(time.Minute) // in synctest's time
	synctest.Wait()
}

func TestWatch_resumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, store := &accounts{streams: true}, newKeeper()
		watching(t, source, store, func() {
			source.play(added("a", ""), bookmark("100", true), bookmark("200", false))
			w, _ := source.last()
			w.Stop()
			settle()
			if _, options := source.last(); options.ResourceVersion != "200" || options.SendInitialEvents != nil {
				t.Fatalf("got a request with %+v, want a watch from version 200", options)
			}
			// From here on all events are new, so none is skipped.
			source.play(modified("a", "A"))
			source.play(added("a", ""))
			if got := store.roles(); len(got) != 0 {
				t.Errorf("got %v, want nothing", got)
			}
		})
	})
}

func TestRelist_removesDeletedObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, store := &accounts{streams: true}, newKeeper()
		watching(t, source, store, func() {
			source.play(added("gone", "A"), added("lost", "A"), added("kept", "A"), added("given", ""), bookmark("100", true))
			source.play(expired())
			settle()
			if _, options := source.last(); options.SendInitialEvents == nil {
				t.Fatalf("got a request with %+v, want a list", options)
			}
			source.play(added("lost", ""), added("kept", "A"), added("given", "A"))
			if got := store.roles(); got["gone"] != "A" {
				t.Errorf("got %v before the end of the list, want the previous content", got)
			}
			source.play(bookmark("300", true))
			if got, want := store.roles(), map[string]string{"kept": "A", "given": "A"}; !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	})
}

func TestWatchList_interrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, store := &accounts{streams: true}, newKeeper()
		watching(t, source, store, func() {
			source.play(added("a", ""), added("c", "C"))
			w, _ := source.last()
			w.Stop()
			settle()
			if store.Health().SyncSignal() || store.Len() != 0 {
				t.Errorf("got %v from an incomplete list, want nothing", store.roles())
			}
			source.play(added("b", "B"), bookmark("100", true))
			if got, want := store.roles(), map[string]string{"b": "B"}; !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	})
}

// The reflector receives no events from such a stream, so it lists instead.
func TestWatchList_interruptedBeforeFirstMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, store := &accounts{streams: true, listed: []corev1.ServiceAccount{*account("a", ""), *account("b", "B")}}, newKeeper()
		watching(t, source, store, func() {
			source.play(added("a", ""))
			w, _ := source.last()
			w.Stop()
			settle()
			if got, want := store.roles(), map[string]string{"b": "B"}; !maps.Equal(got, want) || !store.Health().SyncSignal() {
				t.Errorf("got %v, want %v", got, want)
			}
			source.play(modified("a", "A"), deleted("b", "B"))
			if got, want := store.roles(), map[string]string{"a": "A"}; !maps.Equal(got, want) {
				t.Errorf("got %v afterwards, want %v", got, want)
			}
		})
	})
}

func TestList_paginated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, store := &accounts{}, newKeeper()
		want := map[string]string{}
		for n := range 2*pageSize + 5 {
			name, itsRole := fmt.Sprintf("account-%d", n), ""
			if n%10 == 0 {
				itsRole = "some"
				want[name] = itsRole
			}
			source.listed = append(source.listed, *account(name, itsRole))
		}
		watching(t, source, store, func() {
			if got := store.roles(); !maps.Equal(got, want) {
				t.Errorf("got %d values, want %d", len(got), len(want))
			}
			if store.stripped != len(want) {
				t.Errorf("got %d objects in the reflector, want %d", store.stripped, len(want))
			}
			if len(source.lists) != 3 {
				t.Errorf("got %d requests, want 3 pages", len(source.lists))
			}
			for _, page := range source.lists {
				if page.Limit != pageSize || page.ResourceVersion != "" {
					t.Errorf("got a page request with %+v", page)
				}
			}
			if _, options := source.last(); options.ResourceVersion != "100" {
				t.Errorf("got a watch from %q, want the version of the list", options.ResourceVersion)
			}

			// The version of the last event is too old, so it must not be requested.
			source.mu.Lock()
			source.listed = source.listed[1:]
			source.lists = nil
			source.mu.Unlock()
			source.play(expired())
			settle()
			if got := source.lists[0]; got.ResourceVersion != "" || got.Limit != pageSize {
				t.Errorf("got a list request with %+v", got)
			}
			if _, ok := store.Get(types.NamespacedName{Namespace: "default", Name: "account-0"}); ok || store.Len() != len(want)-1 {
				t.Errorf("got %d values, want one less than %d", store.Len(), len(want))
			}
		})
	})
}

func TestFilterPage_stripsObjects(t *testing.T) {
	store := newKeeper()
	page := &corev1.ServiceAccountList{Items: []corev1.ServiceAccount{*account("a", ""), *account("b", "B")}}
	if err := filterPage(page, store.FilteredStore); err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != 1 || cap(page.Items) != 1 {
		t.Fatalf("got %d items with capacity %d, want 1", len(page.Items), cap(page.Items))
	}
	if left := page.Items[0]; left.Name != "b" || left.Annotations[role] != "B" || left.ManagedFields != nil || left.Secrets != nil {
		t.Errorf("got %+v", left)
	}
}

// A watch must not wait for a reader that is gone: synctest fails if a goroutine is left
// waiting.
func TestFilteredWatch_stop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := watch.NewFake()
		list := newObservedWatch(source, func(watch.Event) {}, nil, func() { t.Error("a stopped watch counts as ended") })
		source.Add(account("a", "A"))
		synctest.Wait() // for the event to be ready, and not read
		list.Stop()
		list.Stop()
		synctest.Wait()
		if _, open := <-list.ResultChan(); open {
			t.Error("an event comes after the stop")
		}
	})
}

func TestList_fieldSelector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, store := &accounts{listed: []corev1.ServiceAccount{*account("a", "")}}, &whole{}
		ctx, cancel := context.WithCancel(t.Context())
		run := Watch(WatchConfig[*corev1.ServiceAccountList]{
			Name: "accounts", Expected: &corev1.ServiceAccount{}, Client: source,
			FieldSelector: "metadata.name=a", Store: store, Failures: source.failures(),
		})
		var running sync.WaitGroup
		running.Go(func() { run(ctx) })
		synctest.Wait()
		if len(store.listed) != 1 {
			t.Errorf("got %v, want one object", store.listed)
		}
		if got := source.lists; len(got) != 1 || got[0].FieldSelector != "metadata.name=a" || got[0].ResourceVersion != "0" {
			t.Errorf("got a list with %+v", got)
		}
		cancel()
		running.Wait()
	})
}

// whole is a store of all objects.
type whole struct{ listed []any }

func (w *whole) Add(any) error    { return nil }
func (w *whole) Update(any) error { return nil }
func (w *whole) Delete(any) error { return nil }
func (w *whole) Resync() error    { return nil }
func (w *whole) Replace(listed []any, _ string) error {
	w.listed = listed
	return nil
}
