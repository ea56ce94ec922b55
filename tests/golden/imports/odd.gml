Creator "by hand: everything that is odd in the Zoo's files"
graph [
  Network "Norden &#38; Co"
  GeoLocation "Norden"
  NetworkDate "2026"
  Source "graph [ made up ]"
  node [
    id 0
    label "NO"
    Country "Norway"
    Longitude 10.74609
    Latitude 59.91273
    Internal 1
  ]
  node [
    id 1
    label "Troms&#248;"
    Country "Norway"
    Longitude 18.95508
    Latitude 69.6489
    Internal 1
  ]
  node [
    id 2
    label "Stockholm"
    Longitude 18.0649
    Latitude 59.33258
    Internal 1
  ]
  node [
    id 3
    label "Stockholm"
    Longitude 18.0649
    Latitude 59.33258
    Internal 1
  ]
  node [
    id 4
    label "?"
    Internal 1
  ]
  node [
    id 5
    label "112 Malm&#246;"
    Longitude 13.00073
    Latitude 955.60587
    Internal 1
  ]
  node [
    id 6
    label "6"
    hyperedge 1
  ]
  node [
    id 7
    label "TeliaSonera"
    Internal 0
  ]
  node [
    id 8
    label "Reykjavik"
    Longitude -21.89541
    Latitude 64.13548
    Internal 1
  ]
  node [
    id 9
    label "Torshavn"
    Internal 1
  ]
  edge [
    source 0
    target 1
    LinkSpeedRaw 2500000000.0
  ]
  edge [
    source 0
    target 2
    LinkSpeedRaw 10000000000.0
  ]
  edge [
    source 2
    target 0
    LinkSpeedRaw 622000000.0
  ]
  edge [
    source 2
    target 3
    LinkSpeedRaw -1
  ]
  edge [
    source 3
    target 3
  ]
  edge [
    source 0
    target 6
  ]
  edge [
    source 6
    target 2
  ]
  edge [
    source 6
    target 4
  ]
  edge [
    source 3
    target 5
    LinkSpeedRaw "fast"
  ]
  edge [
    source 5
    target 7
  ]
  edge [
    source 8
    target 9
  ]
]
