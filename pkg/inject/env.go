package inject

import (
	"reflect"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// envPrefix begins the name of each variable that a decision looks at.
const envPrefix = "AWS_"

// Env is the view of a container's environment: its variables whose name begins
// with envPrefix, in their order. It is nil if the list is absent. A large pod
// has hundreds of others, and to decode them is most of the work with it.
type Env []EnvVar

// EnvVar is the view of an environment variable. FromElsewhere says that it has a
// valueFrom; its Value is empty then.
type EnvVar struct {
	Name, Value   string
	FromElsewhere bool
}

func readEnv(r *skim.Reader) Env {
	if r.Null() {
		return nil
	}
	env := Env{}
	size := 2 * int(reflect.TypeFor[EnvVar]().Size())
	for list := r.Array(); list.Next(); {
		var name, value skim.Quoted
		wanted, elsewhere := false, false
		for o := r.Object(); o.Next(); {
			switch string(o.Name()) {
			case "name":
				name = r.Quoted()
				if wanted = name.HasPrefix(envPrefix); !wanted {
					o.Leave() // there is one name, and no API server sends a second
				}
			case "value":
				value = r.Quoted()
			case "valueFrom":
				elsewhere = !r.Null()
			}
		}
		if wanted && r.Spend(size) {
			env = append(env, EnvVar{Name: r.TextOf(name), Value: r.TextOf(value), FromElsewhere: elsewhere})
		}
	}
	return env
}
