"""How the page looks: one column of text, light and dark, from a telephone to a wide screen.

Colours have a contrast of at least 4.5 to 1 with their background, and what a colour says is also
said by a shape or a word. Whatever may be wide (tables, long words) scrolls or breaks in its box;
a shadow at the edge of a table says that it goes on.
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #565e67; --line: #d5dbe1; --paper: #fff;
  --raised: #f5f7f9; --alarm: #a8201a; --good: #1a6b34; --link: #0a58b5;
  --baseline: #5b6570; --naive: #b3470a; --improved: #0a66c2; --other: #7a3fa0;
  --other-2: #1a6b34; --other-3: #8a5a00; --other-4: #a01a5e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf0; --soft: #a0a9b3; --line: #3a424b;
  --paper: #101418; --raised: #1a2027; --alarm: #ff8f87; --good: #6fd08c; --link: #7db8ff;
  --baseline: #aab4be; --naive: #ff9d5c; --improved: #6cb2ff; --other: #cf9bf0;
  --other-2: #6fd08c; --other-3: #e0b040; --other-4: #ff8fc0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 1.2rem 0; }
p, ul { max-width: 48rem; } ul { padding-left: 1.2rem; margin: .5rem 0; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.missing { color: var(--soft); font-style: italic; }
.warn li, .bad { color: var(--alarm); } .good { color: var(--good); }
.good, .bad { font-weight: 600; }
.scroll { overflow-x: auto; margin: .8rem 0; background: no-repeat
  linear-gradient(to right, var(--paper) 40%, transparent) 0 / 2rem 100% local, no-repeat
  linear-gradient(to left, var(--paper) 40%, transparent) 100% / 2rem 100% local, no-repeat
  linear-gradient(to right, var(--line), transparent) 0 / .6rem 100%, no-repeat
  linear-gradient(to left, var(--line), transparent) 100% / .6rem 100%; }
table { border-collapse: collapse; width: max-content; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 1.2rem .4rem 0; text-align: left; vertical-align: top; min-width: 4rem;
  max-width: 22rem; border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
thead th { color: var(--soft); font-weight: 500; } tbody th { font-weight: 600; }
td div:first-child { font-weight: 600; } td div + div { color: var(--soft); }
.failed { border-left: 4px solid var(--alarm); padding: .1rem 1rem; margin: 1rem 0;
  background: var(--raised); }
pre, .text { white-space: pre-wrap; overflow-wrap: anywhere; margin: .4rem 0; font-size: .9rem; }
pre { font-family: ui-monospace, monospace; }
.charts { display: grid; gap: 0 2.5rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }
.charts > * { min-width: 0; }
figure { margin: .8rem 0; max-width: 36rem; min-width: 0; }
details { border-top: 1px solid var(--line); } details details { border: 0; }
summary { cursor: pointer; padding: .5rem 0; }
.answers { display: grid; gap: .8rem; margin: .5rem 0 1.2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 14rem), 1fr)); }
.answer { background: var(--raised); border-radius: 6px; padding: .6rem .8rem; min-width: 0;
  border-top: 3px solid var(--line); }
.answer.baseline { border-color: var(--baseline); } .answer.naive { border-color: var(--naive); }
.answer.improved { border-color: var(--improved); }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; stroke: var(--paper);
  stroke-width: 3px; paint-order: stroke; }
svg .soft { fill: var(--soft); font-size: 12px; } svg .head { font-weight: 600; }
svg .grid { stroke: var(--line); } svg .zero { stroke: var(--soft); }
svg .baseline { --mark: var(--baseline); } svg .naive { --mark: var(--naive); }
svg .improved { --mark: var(--improved); } svg .other { --mark: var(--other); }
svg .other-2 { --mark: var(--other-2); } svg .other-3 { --mark: var(--other-3); }
svg .other-4 { --mark: var(--other-4); }
svg .shape { fill: var(--mark); } svg .span { stroke: var(--mark); stroke-width: 3; }
svg .single { stroke: var(--mark); fill: none; }
svg .box { fill: var(--mark); fill-opacity: .35; stroke: var(--mark); }
svg .curve { stroke: var(--mark); stroke-width: 2; fill: none; }
svg .naive .curve { stroke-dasharray: 6 3; }
svg .study { stroke: var(--ink); stroke-width: 2; fill: none; }
@media (max-width: 30rem) { tbody th { max-width: 9.5rem; } td { max-width: 16rem; }
  svg text { font-size: 16px; }
  svg .soft { font-size: 15px; } }
@media print { nav { display: none; } }
"""
