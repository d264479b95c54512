"""Words for the slots of the invented texts."""

from __future__ import annotations

__all__ = ["WORDS"]

_WORDS = {
    "first": "Nora, Felix, Clara, Hugo, Martha, Oscar, Irene, Leon, Vera, Simon, Greta, Paul, "
    "Alice, Victor, Ella, Marco, Yuki, Omar, Lina, Boris, Fatima, Diego, Ruth, Jonas, Amara, "
    "Wei, Priya, Stefan, Luisa, Tomas, Agnes, Rashid, Edith, Pablo, Sonia, Niko, Tara, Henry, "
    "Zoe, Emil, Carla, Ivan, Judith, Kofi, Mei, Arthur, Dora, Finn, Hanna, Jack, Kira, Louis, "
    "Mona, Nils, Rita, Tim, Ursula, Walter",
    "last": "Baker, Lund, Kovacs, Romero, Tanaka, Fischer, Novak, Haddad, Silva, Murphy, "
    "Berg, Costa, Dubois, Evans, Farkas, Grant, Huber, Ito, Jansen, Kim, Lopez, Mbeki, Nilsson, "
    "Ortiz, Park, Quinn, Rossi, Singh, Thorne, Ueda, Vogel, Walsh, Young, Zeller, Ahmed, "
    "Brandt, Carter, Duarte, Ellis, Franke, Gomez, Hill, Ibsen, Joshi, Keller, Larsson, Meyer, "
    "Nagy, Owens, Petrov, Reed, Stone, Turner, Vega, Wood",
    "beginning": "Bran, Kel, Tor, Har, Wes, Nor, Sel, Mar, Lin, Dor, Ash, Fen, Gal, Hol, Ber, "
    "Ros, Sten, Wal, Vel, Zar, Cro, Dun, Lau, Mon, Pel, Quar, Rid, Tam, Ul, Yar",
    "ending": "ford, dale, wick, burg, ina, mere, stad, ton, holm, bach, ovo, ley, combe, "
    "ack, eno, ida, rath, mouth, beck, au, gate, vik, haven",
    "numeral": "five, eight, nine, eleven, thirteen, fifteen, eighteen, twenty-five, sixty, ninety",
    "colour": "red, blue, green, yellow, white, black, grey, orange, purple, brown, pink, "
    "silver, golden, turquoise",
    "material": "wood, brick, granite, concrete, marble, glass, iron, clay, sandstone, "
    "copper, bamboo, oak, aluminium, limestone",
    "country": "Norway, Peru, Kenya, Japan, Portugal, Canada, Vietnam, Chile, Iceland, "
    "Morocco, Finland, Brazil, India, Turkey, Ireland, Poland, Mexico, Ghana, Nepal, Greece, "
    "Cuba, Sweden, Austria, Bolivia, Tunisia, Latvia, Bhutan, Samoa",
    "job": "teacher, baker, carpenter, dentist, pilot, painter, farmer, lawyer, tailor, "
    "gardener, plumber, doctor, fisherman, nurse, violinist, engineer, miller, sailor, chemist, "
    "butcher, judge, dancer, architect, photographer, shepherd, cook",
    "food": "soup, cheese, waffles, salad, pancakes, fried fish, apple pie, noodles, lentil "
    "stew, dumplings, sandwiches, rice pudding, omelettes, roast potatoes, ice cream, mushroom "
    "pie, pizza, honey cake",
    "prey": "beetles, snails, roots, berries, nuts, worms, mice, leaves, seeds, frogs, "
    "mushrooms, grass, crabs, eggs, spiders",
    "drink": "tea, cocoa, apple juice, lemonade, mint tea, hot milk, ginger tea, cider",
    "music": "jazz, folk music, tango, blues, organ music, swing, flamenco, chamber music",
    "street": "Mill Lane, Station Road, Park Street, Church Lane, Market Street, Rose Alley, "
    "King Street, Canal Street, Garden Road, Castle Hill, Bell Lane",
    "landmark": "town hall, post office, station, old mill, hospital, market hall, fountain, "
    "fire station, cinema, university, stadium, court, chapel, cemetery",
    "site": "a youth hostel, a music school, a court, a puppet museum, an archive, a brewery, "
    "a kindergarten, a gallery, a cooking school",
    "sport": "tennis, yoga, fishing, cycling, table tennis, archery, sailing, rowing, boxing, "
    "dancing, riding, golf",
    "object": "mirror, shell, lamp, compass, violin, hat, key, ring, kite, clock, vase, "
    "umbrella, drum, basket, suitcase, candle, map, bottle",
    "flower": "rose, tulip, dahlia, lily, iris, crocus, orchid, peony, azalea, camellia",
    "fruit": "lemons, bananas, figs, papayas, melons, mangoes, limes, olives, dates, guavas",
    "animal": "fox, heron, turtle, cat, swan, rabbit, owl, goat, frog, otter, parrot, "
    "hedgehog, duck, pony, raven, beaver",
    "herd": "foxes, wolves, eagles, deer, dolphins, whales, bears, seals, monkeys, camels, "
    "storks, lizards, parrots",
    "cloth": "wool, silk, jeans, towels, curtains, shirts, cotton, sportswear",
    "crop": "wheat, barley, maize, carrots, onions, cabbage, oats, hops, potatoes, beans, "
    "pumpkins, flax, beets",
    "pet": "Biscuit, Rufus, Pepper, Luna, Shadow, Ziggy, Momo, Button, Ginger, Sparky, Olga, "
    "Tiger, Waffle, Nemo",
    "fish": "trout, salmon, pike, perch, carp, eels, catfish, bream, tench",
    "gear": "a torch, warm socks, a sleeping bag, a map, a knife, a cup, a notebook, sun "
    "cream, a rope, a towel, a charger, a strap, a blanket, a whistle",
    "title": "The Glass Forest, Seven Winters, A Door in the Hill, Silent Water, The Last "
    "Ferry Home, Red Dust, Letters to Nobody, The Honey Thief, Under the Clock, North of "
    "Nothing, The Salt Road, Paper Moons, A Quiet Storm, The Blue Room",
    "lang": "Danish, Japanese, Polish, Arabic, Hindi, Turkish, Greek, Swedish, Italian, "
    "Korean, Dutch, Finnish, Czech, Swahili, Portuguese",
    "hobby": "knitting, climbing, reading, gardening, chess, singing, cycling, painting, "
    "sailing, pottery, astronomy, baking, photography",
    "product": "shoes, pianos, windows, bicycles, candles, tents, chairs, batteries, "
    "umbrellas, soap, carpets, skis, pumps, lamps, tyres, watches",
    "os": "Linux, Windows, macOS, Android, FreeBSD, a Raspberry Pi",
    "plang": "Rust, Python, Java, Go, Kotlin, Haskell, Ruby, C, Swift, Erlang",
    "fuel": "gas, diesel, electricity, hydrogen",
    "trade": "fishing, tourism, farming, weaving, mining, boatbuilding, beekeeping, forestry",
    "town": "Branholm, Kelmouth, Torwick, Harcombe, Westad, Sellbach, Marrath, Lingate, "
    "Dorvik, Ashmere, Fenovo, Galhaven, Holau, Bereno, Rosdale, Stenida, Walburg, Velack, "
    "Crobeck",
    "vehicle": "train, ship, bicycle, car, balloon, camel, motorcycle, sledge, aeroplane, horse",
    "need": "water, shade, warmth, sand, lime, light, mulch, wind",
    "furn": "a bed, a table, a wardrobe, a sofa, a desk, bookshelves, a carpet, six chairs, a "
    "mirror",
    "rank": "first, second, third, fifth, eighth, ninth, last",
    "beast": "marsh lurrel, crested bilk, spotted tarn mouse, woolly dray, river pangle, "
    "long-eared mott, grey sindri, hill tamber",
    "plant": "bitter lorn, ruby vine, mountain kess, velvet palm, blue tamarisk, sugar thorn, "
    "star fern, moon pear",
    "Brand": "Velox, Orbit, Kranz, Tamaro, Sollux, Benika, Arkon, Fjordline, Quanta, Lumo, "
    "Pixor, Zephyr",
    "sight": "the town hall, the post office, the station, the old mill, the hospital, the "
    "market hall, the fountain, the cinema, the university, the stadium, the chapel, the "
    "cemetery",
    "reason": "the heating is broken, there was no money left, the owner fell ill, it had "
    "rained for weeks, a pipe burst, the mayor did not agree, too few people came, the roof "
    "leaks, the road was flooded, the workers went on strike, a storm had damaged the roof, "
    "birds nest there, the key was lost, the neighbours complained, the disk was full, the "
    "ground was frozen, a spare part was missing, the law changed, wild pigs had come, the rent "
    "was too high",
    "month": "January, February, March, April, June, July, August, September, October, "
    "November, December",
    "day": "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday",
}
WORDS = {slot: words.split(", ") for slot, words in _WORDS.items()}
