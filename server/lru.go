package server

import "container/list"

// An lru keeps values by key, within a number of bytes: for what does not fit, those
// go that were used longest ago. It belongs to the mutex of whoever has it.
type lru[K comparable, V any] struct {
	most  int       // bytes
	bytes int       // of all items, as put said; never above most
	order list.List // of *lruItem[K, V], the last used first
	byKey map[K]*list.Element
}

type lruItem[K comparable, V any] struct {
	key   K
	value V
	bytes int
}

func newLRU[K comparable, V any](most int) lru[K, V] {
	return lru[K, V]{most: most, byKey: make(map[K]*list.Element)}
}

// get is the key's value, which counts as used now.
func (l *lru[K, V]) get(k K) (v V, ok bool) {
	at, ok := l.byKey[k]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(at)
	return at.Value.(*lruItem[K, V]).value, true
}

// put keeps a value in place of the key's last one. A value that alone is above the
// limit is not kept.
func (l *lru[K, V]) put(k K, v V, bytes int) {
	l.drop(k)
	if bytes > l.most {
		return
	}
	l.byKey[k] = l.order.PushFront(&lruItem[K, V]{k, v, bytes})
	l.bytes += bytes
	for l.bytes > l.most {
		l.drop(l.order.Back().Value.(*lruItem[K, V]).key)
	}
}

func (l *lru[K, V]) drop(k K) {
	at, ok := l.byKey[k]
	if !ok {
		return
	}
	l.bytes -= l.order.Remove(at).(*lruItem[K, V]).bytes
	delete(l.byKey, k)
}
