package compare

import (
	"encoding/json"
	"hash/maphash"
	"math"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

var gateSeed = maphash.MakeSeed()

// Hash is equal for the same evidence in any order, so that the gate notices when an autoscaler comes, goes or changes its
// range. Like SpecHash it holds for this process only.
func (e Evidence) Hash() uint64 {
	var sum uint64
	for _, a := range e.Autoscalers {
		sum += maphash.Comparable(gateSeed, a)
	}
	for _, v := range e.Verticals {
		sum += maphash.Comparable(gateSeed, v)
	}
	return mix(sum)
}

// SpecHash is equal for two versions of an object that cannot differ in a comparison: it leaves out status, the managedFields
// of subresources that only cover status, resourceVersion, generation and uid. It is seeded per process, so it cannot be
// forged and must not be stored.
func SpecHash(live *unstructured.Unstructured) uint64 {
	if live == nil {
		return 0
	}
	var sum uint64
	for k, v := range live.Object {
		switch k {
		case "status":
		case "metadata":
			m, _ := v.(map[string]any)
			sum += metadataHash(m)
		default:
			sum += pair(k, hashValue(v))
		}
	}
	return mix(sum)
}

func metadataHash(m map[string]any) uint64 {
	var sum uint64
	for k, v := range m {
		switch k {
		case "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink":
		case "managedFields":
			entries, _ := v.([]any)
			for _, e := range entries {
				if entry, ok := e.(map[string]any); ok && !onlyStatus(entry) {
					sum += pair(k, ownerHash(entry))
				}
			}
		default:
			sum += pair(k, hashValue(v))
		}
	}
	return mix(sum)
}

// ownerHash hashes an entry of managedFields, equally whether its fields are decoded or text.
func ownerHash(entry map[string]any) uint64 {
	sum := uint64(len(entry))
	for k, v := range entry {
		if text, ok := v.(string); ok && k == "fieldsV1" {
			sum += pair(k, hashText([]byte(text)))
			continue
		}
		sum += pair(k, hashValue(v))
	}
	return mix(sum)
}

// hashText gives the hashValue of an undecoded fieldsV1.
func hashText(text []byte) uint64 {
	sum, ok := wire.Fold(text, foldedMember, foldedObject)
	if ok {
		return sum
	}
	var v any
	if json.Unmarshal(text, &v) != nil {
		return maphash.Bytes(gateSeed, text)
	}
	return hashValue(v)
}

func foldedMember(key []byte, below uint64) uint64 {
	return mix(maphash.Bytes(gateSeed, key) ^ (below*0x9e3779b97f4a7c15 + 1))
}

func foldedObject(n int, sum uint64) uint64 { return mix(uint64(n) + 0x9e3779b97f4a7c15 + sum) }

// onlyStatus says that an entry of managedFields covers nothing that is compared. A controller that keeps an annotation
// together with the status covers more, but its time changes with every status: the value of the annotation is hashed anyway.
func onlyStatus(entry map[string]any) bool { return entry["subresource"] == "status" }

// hashValue hashes a JSON value; the order of a map's keys does not matter, the order of a list's items does.
func hashValue(v any) uint64 {
	switch v := v.(type) {
	case map[string]any:
		sum := uint64(len(v)) + 0x9e3779b97f4a7c15
		for k, c := range v {
			sum += pair(k, hashValue(c))
		}
		return mix(sum)
	case []any:
		sum := uint64(len(v)) + 0x7f4a7c159e3779b9
		for _, c := range v {
			sum = mix(sum*31 + hashValue(c))
		}
		return sum
	case string:
		return maphash.String(gateSeed, v)
	case bool:
		if v {
			return 0x6a09e667f3bcc909
		}
		return 0xbb67ae8584caa73b
	case nil:
		return 0x3c6ef372fe94f82b
	}
	if f, ok := number(v); ok {
		return mix(math.Float64bits(f) ^ 0xa54ff53a5f1d36f1)
	}
	return maphash.String(gateSeed, marshal(v))
}

func pair(k string, h uint64) uint64 {
	return mix(maphash.String(gateSeed, k) ^ (h*0x9e3779b97f4a7c15 + 1))
}

// mix spreads every bit over the word.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
