package inject

import "strings"

// warnOverrides warns about variables that keep SDKs from the identity that a container
// has now.
func (p *plan) warnOverrides(c *Container) {
	for _, override := range Overrides(c.environment(), p.identity) {
		p.warn(IdentityOverridden, "container %q sets %s", c.Name, override)
	}
}

// warnRegion warns about a container whose own region some SDKs do not find: an empty
// value is an error to some, and some read only one of the two variables. The second
// matters where the webhook has a region, which it adds only to a container with neither.
func (p *plan) warnRegion(c *Container, env environment) {
	if !env.region {
		return
	}
	if empty := c.environment().empty(envRegion, envDefaultRegion); empty != "" {
		p.warn(RegionIncomplete, "container %q sets %s to an empty value: SDKs find no region; remove it", c.Name, empty)
		return
	}
	if p.settings.Region == "" || c.HasEnvFrom {
		return
	}
	for _, names := range [...][2]string{{envRegion, envDefaultRegion}, {envDefaultRegion, envRegion}} {
		if !c.environment().sets(names[1]) {
			p.warn(RegionIncomplete, "container %q sets %s without %s: some SDKs find no region; set both", c.Name, names[0], names[1])
		}
	}
}

// empty names those variables that are known to be set to an empty value.
func (e Environment) empty(names ...string) string {
	var empty []string
	for _, name := range names {
		if e.setsEmpty(name) {
			empty = append(empty, name)
		}
	}
	return strings.Join(empty, " and ")
}

func (c *Container) environment() Environment {
	return Environment{Variables: c.Env, Open: c.HasEnvFrom}
}
