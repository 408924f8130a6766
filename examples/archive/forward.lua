-- What cxr-screen has made goes on to the PACS as soon as it is stored here. The films came from there, and stay.
function OnStoredInstance(instanceId, tags, metadata)
   if tags['ManufacturerModelName'] == 'cxr-screen' then
      SendToModality(instanceId, 'pacs')
   end
end
