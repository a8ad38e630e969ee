"""Sentences written for the tests, a few a language, in four scripts; not reviewed by speakers."""

from __future__ import annotations

SENTENCES: dict[str, list[str]] = {
    "swa": [
        "Mwalimu aliwaambia wanafunzi wasome kitabu kipya kila siku.",
        "Mvua kubwa ilinyesha jana usiku katika mji wa pwani.",
        "Wakulima wanauza mahindi na maharage sokoni asubuhi.",
        "Serikali imejenga hospitali mpya karibu na shule yetu.",
        "Watoto wanacheza mpira uwanjani baada ya masomo.",
        "Bibi yangu anapika chakula kitamu kwa ajili ya wageni.",
        "Gari la moshi litafika kituoni saa mbili kamili usiku.",
        "Tunapenda kusikiliza muziki wa zamani tukiwa nyumbani.",
    ],
    "yor": [
        "Olùkọ́ náà sọ fún àwọn ọmọ pé kí wọ́n ka ìwé wọn.",
        "Òjò ńlá rọ̀ ní alẹ́ àná ní ìlú wa.",
        "Àwọn àgbẹ̀ ń ta àgbàdo àti ẹ̀wà ní ọjà.",
        "Ìjọba ti kọ́ ilé ìwòsàn tuntun sí ẹ̀gbẹ́ ilé-ìwé.",
        "Àwọn ọmọdé ń gbá bọ́ọ̀lù lẹ́yìn ẹ̀kọ́ wọn.",
        "Ìyá mi máa ń se oúnjẹ dídùn fún àwọn àlejò.",
        "Ọkọ̀ ojú irin yóò dé ní aago méjì alẹ́.",
        "A fẹ́ràn láti gbọ́ orin àtijọ́ nígbà tí a bá wà nílé.",
    ],
    "hau": [
        "Malami ya ce ɗalibai su karanta sabon littafi kowace rana.",
        "An yi ruwan sama mai ƙarfi jiya da dare a garinmu.",
        "Manoma suna sayar da masara da wake a kasuwa da safe.",
        "Gwamnati ta gina sabon asibiti kusa da makarantarmu.",
        "Yara suna buga ƙwallo a filin wasa bayan karatu.",
        "Kakata tana dafa abinci mai daɗi don baƙi.",
        "Jirgin ƙasa zai iso tasha da ƙarfe biyu na dare.",
        "Muna son sauraron tsohuwar waƙa idan muna gida.",
    ],
    "amh": [
        "መምህሩ ተማሪዎቹ በየቀኑ አዲስ መጽሐፍ እንዲያነቡ ነገራቸው።",
        "ትናንት ማታ በከተማችን ከባድ ዝናብ ዘነበ።",
        "ገበሬዎች ጠዋት በገበያ በቆሎና ባቄላ ይሸጣሉ።",
        "መንግሥት ከትምህርት ቤታችን አጠገብ አዲስ ሆስፒታል ሠራ።",
        "ልጆች ከትምህርት በኋላ በሜዳ ላይ ኳስ ይጫወታሉ።",
        "አያቴ ለእንግዶች ጣፋጭ ምግብ ታበስላለች።",
        "ባቡሩ ማታ ሁለት ሰዓት ላይ ጣቢያ ይደርሳል።",
        "ቤት ስንሆን የድሮ ሙዚቃ መስማት እንወዳለን።",
    ],
    "ara": [
        "قال المعلم للطلاب إن عليهم قراءة كتاب جديد كل يوم.",
        "هطل مطر غزير ليلة أمس في مدينتنا الساحلية.",
        "يبيع الفلاحون الذرة والفول في السوق كل صباح.",
        "بنت الحكومة مستشفى جديدا بالقرب من مدرستنا.",
        "يلعب الأطفال كرة القدم في الملعب بعد الدروس.",
        "تطبخ جدتي طعاما لذيذا من أجل الضيوف.",
        "سيصل القطار إلى المحطة في الساعة الثانية ليلا.",
        "نحب أن نستمع إلى الأغاني القديمة ونحن في البيت.",
    ],
    "eng": [
        "The teacher told the students to read a new book every day.",
        "Heavy rain fell last night in the town on the coast.",
        "Farmers sell maize and beans at the market in the morning.",
        "The government has built a new hospital near our school.",
        "The children play football on the field after their lessons.",
        "My grandmother cooks good food for the guests.",
        "The train will reach the station at two in the night.",
        "We like to hear old songs when we are at home.",
    ],
    "rus": [
        "Учитель сказал ученикам читать новую книгу каждый день.",
        "Вчера ночью в нашем городе прошёл сильный дождь.",
        "Крестьяне утром продают на рынке кукурузу и фасоль.",
        "Правительство построило новую больницу рядом с нашей школой.",
    ],
}

AFRICAN = {language: SENTENCES[language] for language in ("swa", "yor", "hau", "amh", "ara")}
